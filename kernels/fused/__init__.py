"""Chains of elementwise work in one kernel each, for GPUs, beside readable twins."""
