"""The HTTP side of the live engine: sessions, WHIP and WHEP, the page, figures for Prometheus."""
