"""Training: configuration, augmentation, losses, and a run that learns, stops and resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import CONTROLS, FaceBasis, activations
from engine.speech.emotions import emotion_shares
from engine.speech.network import DELAYS, NetworkConfig, SpeechNet
from engine.speech.whisper import WhisperEncoder
from engine.training import disentangle, dsp, loop
from engine.training.augment import AugmentConfig, augment, change_speed
from engine.training.config import TrainConfig, read_config
from engine.training.dataset import Item, Pool, Sampler, build_pool
from engine.training.evaluation import opening_of

pytestmark = pytest.mark.unit

TINY = TrainConfig(
    steps=6,
    batch=4,
    window_s=1.0,
    segment_s=1.8,
    time_jitter_ms=0,
    input_noise=0.25,
    checkpoint_steps=3,
    pairs=2,
    network=NetworkConfig(content=8, width=8, memory=8, feeling=8),
)


def _basis() -> FaceBasis:
    rng = np.random.default_rng(0)
    move = 0.1 * rng.standard_normal((len(CONTROLS), 68, 3))
    return FaceBasis(np.zeros((68, 3), np.float32), move.astype(np.float32))


def _pool() -> Pool:
    rng = np.random.default_rng(1)
    controls = np.repeat(rng.random((4, 10, len(CONTROLS))), 10, axis=1)
    inputs = rng.standard_normal((4, 100, 390)) * 0.1
    inputs[:, :, : len(CONTROLS)] += controls
    return Pool(inputs.astype(np.float16), controls.astype(np.float16))


def _items() -> list[Item]:
    rng = np.random.default_rng(2)
    return [
        Item(
            voice, rng.standard_normal(32_000).astype(np.float32) * 0.1, np.full((100, len(CONTROLS)), 0.3, np.float32)
        )
        for voice in ("a", "b")
    ]


def _pairs() -> Pool:
    """Two pairs: the second row of each is the first with a shift that stands for the emotion."""
    rng = np.random.default_rng(3)
    controls = np.repeat(rng.random((2, 10, len(CONTROLS))), 10, axis=1).repeat(2, axis=0)
    inputs = rng.standard_normal((2, 100, 390)).repeat(2, axis=0) * 0.1
    inputs[1::2, :, 380:] += 1.0
    shares = np.stack([emotion_shares(name) for name in ("neutral", "angry", "neutral", "angry")])
    return Pool(inputs.astype(np.float16), controls.astype(np.float16), shares)


def test_a_run_learns_and_writes_its_curves(tmp_path: Path) -> None:
    config = replace(TINY, steps=60, learning_rate=1e-2, input_noise=0.0)
    losses: list[float] = []
    loop.train(_pool(), _pairs(), _basis(), config, tmp_path, lambda text, share: losses.append(float(text.split()[3])))
    assert losses[-1] < 0.7 * losses[0]
    (log,) = tmp_path.glob("events.out.tfevents.*")
    assert log.read_bytes().count(b"rebuilt") == 60


def test_a_run_in_mixed_precision_learns_as_well(tmp_path: Path) -> None:
    """Its weights stay float32, and lie near those of a run without it."""
    config = replace(TINY, steps=12, learning_rate=1e-2, input_noise=0.0)
    losses: dict[bool, list[float]] = {False: [], True: []}
    nets = {}
    for mixed, told in losses.items():

        def note(text: str, share: float, told: list[float] = told) -> None:
            told.append(float(text.split()[3]))

        folder = tmp_path / str(mixed)
        nets[mixed] = loop.train(_pool(), _pairs(), _basis(), replace(config, mixed=mixed), folder, note)
    assert losses[True][-1] < 0.9 * losses[True][0]
    assert losses[True][-1] == pytest.approx(losses[False][-1], rel=0.1)
    assert losses[True] != losses[False]
    assert {value.dtype for value in nets[True].state_dict().values()} == {torch.float32}


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInputError, match='device is "cuda", but torch sees no GPU; set it to "cpu"'):
        loop.train(_pool(), None, _basis(), replace(TINY, device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("paired", [True, False])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, paired: bool) -> None:
    pairs = _pairs() if paired else None
    whole = loop.train(_pool(), pairs, _basis(), TINY, tmp_path / "whole")

    class _Stop(Exception):
        pass

    def stop(text: str, share: float) -> None:
        if text.startswith("step 5 "):
            raise _Stop

    with pytest.raises(_Stop):
        loop.train(_pool(), pairs, _basis(), TINY, tmp_path / "cut", stop)
    resumed = loop.train(_pool(), pairs, _basis(), TINY, tmp_path / "cut")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)


def test_a_run_gives_the_average_of_its_weights(tmp_path: Path) -> None:
    """Without averaging the last weights; with it what lies between them and the earlier ones, statistics as they are.

    The steps themselves are the same: averaging only looks on.
    """
    nets = {
        share: loop.train(_pool(), None, _basis(), replace(TINY, averaging=share), tmp_path / str(share))
        for share in (0.0, 0.99)
    }
    saved = {share: torch.load(tmp_path / str(share) / "checkpoint.pt", weights_only=True) for share in nets}
    for name, value in nets[0.0].state_dict().items():
        torch.testing.assert_close(saved[0.0]["model"][f"network.{name}"], value)
        torch.testing.assert_close(saved[0.99]["model"][f"network.{name}"], value)
    torch.testing.assert_close(nets[0.99].mean, nets[0.0].mean)
    assert not torch.allclose(nets[0.99].heads.weight, nets[0.0].heads.weight, atol=1e-5)
    assert not nets[0.99].training


def test_the_average_is_young_at_first_and_then_as_long_as_asked_for() -> None:
    """The first weights are taken whole; the share that stays then grows to what was asked for."""
    network = SpeechNet(TINY.network)
    average = loop.averaged(network, 0.5)
    expected = None
    for count in range(14):
        with torch.no_grad():
            network.heads.bias.fill_(float(count))
        average.update_parameters(network)
        kept = min(0.5, count / (count + 10))
        expected = float(count) if expected is None else kept * expected + (1 - kept) * count
        found = average.module.state_dict()["heads.bias"]
        torch.testing.assert_close(found, torch.full_like(found, expected))


def test_a_checkpoint_of_before_averaging_is_refused(tmp_path: Path) -> None:
    loop.train(_pool(), None, _basis(), TINY, tmp_path)
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    del saved["average"]
    torch.save(saved, path)
    with pytest.raises(BadInputError, match="'average'; delete it"):
        loop.train(_pool(), None, _basis(), TINY, tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    loop.train(_pool(), None, _basis(), TINY, tmp_path)
    other = replace(TINY, network=NetworkConfig(content=9, width=8, memory=8, feeling=8))
    with pytest.raises(BadInputError, match="begin anew"):
        loop.train(_pool(), None, _basis(), other, tmp_path)


def test_activations_of_training_and_product_agree() -> None:
    controls = np.random.default_rng(0).random((5, len(CONTROLS))).astype(np.float32)
    torch.testing.assert_close(
        disentangle.activations(torch.from_numpy(controls)), torch.from_numpy(activations(controls))
    )


def test_width_and_closing_have_errors_of_their_own() -> None:
    """A mouth that is as wide as it should be and closes where it should has neither."""
    objective = disentangle.Objective(_basis())
    wanted = torch.zeros(1, 20, len(CONTROLS))
    wanted[:, 5:10, CONTROLS.index("close")] = 1.0
    right = objective(wanted, wanted)
    assert right.width.item() == 0.0
    assert right.closing.item() < 1e-3
    rounder = wanted.clone()
    rounder[:, :, CONTROLS.index("pucker")] = 0.5
    assert objective(rounder, wanted).width.item() > 0.0
    open_lips, doubtful = torch.zeros_like(wanted), wanted.clone()
    doubtful[:, :, CONTROLS.index("close")] = 0.5
    assert objective(open_lips, wanted).closing > objective(doubtful, wanted).closing > right.closing


def test_what_is_not_known_costs_nothing_and_the_rest_as_much_as_before() -> None:
    """Half of the frames of one row are unknown: whatever they say, the losses are those of the other frames."""
    objective = disentangle.Objective(_basis())
    rng = torch.Generator().manual_seed(4)
    told, wanted = torch.rand(2, 40, len(CONTROLS), generator=rng), torch.rand(2, 40, len(CONTROLS), generator=rng)
    known = torch.ones(2, 40, dtype=torch.bool)
    for name, value in vars(objective(told, wanted)).items():
        torch.testing.assert_close(vars(objective(told, wanted, known))[name], value)
    known[:, 20:] = False
    half = objective(told[:, :20], wanted[:, :20])
    other = wanted.clone()
    other[:, 20:] = torch.rand(2, 20, len(CONTROLS), generator=rng)
    for target in (wanted, other):
        for name, value in vars(objective(told, target, known)).items():
            torch.testing.assert_close(value, vars(half)[name])
    none = objective(told, wanted, torch.zeros_like(known))
    assert all(value.item() == 0.0 for value in vars(none).values())


def test_unknown_frames_are_late_with_the_answer() -> None:
    """Frame 10 alone is unknown: the answer for it, three frames later, does not count, and no other is left out."""
    objective = disentangle.Objective(_basis())
    answers = torch.zeros(1, 40, len(DELAYS), len(CONTROLS))
    wanted, known = torch.zeros(1, 40, len(CONTROLS)), torch.ones(1, 40, dtype=torch.bool)
    wanted[:, 10] = 0.5
    assert objective.delayed(answers, wanted, (3,), known).landmarks.item() > 0.0
    known[:, 10] = False
    assert objective.delayed(answers, wanted, (3,), known).landmarks.item() == 0.0
    answers[:, 13] = 0.7
    assert objective.delayed(answers, wanted, (3,), known).landmarks.item() == 0.0
    answers[:, 14] = 0.7
    assert objective.delayed(answers, wanted, (3,), known).landmarks.item() > 0.0


def _films(seed: int = 7) -> Pool:
    """Segments like those of `_pool`, unknown in their second half."""
    rng = np.random.default_rng(seed)
    controls = np.repeat(rng.random((4, 10, len(CONTROLS))), 10, axis=1)
    inputs = rng.standard_normal((4, 100, 390)) * 0.1
    known = np.tile(np.arange(100) < 50, (4, 1))
    return Pool(inputs.astype(np.float16), controls.astype(np.float16), None, known)


@pytest.mark.parametrize(("share", "own", "films"), [(0.0, 4, 0), (0.5, 2, 2), (1.0, 0, 4)])
def test_films_take_their_share_of_the_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, own: int, films: int
) -> None:
    """Films come without jitter: their lips keep their own time."""
    drawn: list[tuple[str, int, int]] = []
    pools = {"own": _pool(), "films": _films()}
    for name, pool in pools.items():

        def batch(
            size: int, frames: int, rng: np.random.Generator, jitter: int = 0, name: str = name, draw: Any = pool.batch
        ) -> Any:
            drawn.append((name, size, jitter))
            return draw(size, frames, rng, jitter)

        monkeypatch.setattr(pool, "batch", batch)
    config = replace(TINY, steps=1, filmed_share=share, time_jitter_ms=80)
    loop.train(pools["own"], _pairs(), _basis(), config, tmp_path, None, pools["films"])
    assert drawn == [(name, size, jitter) for name, size, jitter in (("own", own, 4), ("films", films, 0)) if size]


def test_joined_pools_hold_the_segments_of_all() -> None:
    both = Pool.joined([_pool(), _films()])
    assert both.seconds == _pool().seconds + _films().seconds
    batch = both.batch(64, 100, np.random.default_rng(0))
    halves = batch.known.float().mean(dim=1)
    assert set(halves.tolist()) == {0.5, 1.0}


def test_windows_of_a_pair_are_of_the_same_time() -> None:
    batch = _pairs().pair_batch(3, 20, np.random.default_rng(0))
    torch.testing.assert_close(batch.controls[:3], batch.controls[3:])
    torch.testing.assert_close(batch.inputs[:3, :, :380], batch.inputs[3:, :, :380])
    assert batch.shares[:3, 0].tolist() == [1.0] * 3
    assert batch.shares[3:, 0].tolist() == [0.0] * 3


def test_figures_come_from_the_first_minute_of_every_held_out_voice() -> None:
    """Recordings are taken whole; voices that were trained on are left out."""
    items = [Item(voice, np.zeros(0, np.float32), np.zeros((50 * 25, 9), np.float32)) for voice in "aabaaabc"]
    chosen = loop.held_out_items(items, replace(TINY, held_out=("a", "b")))
    assert [item.voice for item in chosen] == ["a", "a", "b", "a", "b"]
    assert [item.voice for item in loop.held_out_items(items, replace(TINY, held_out=("c",)), 1.0)] == ["c"]
    assert loop.held_out_items(items, replace(TINY, held_out=())) == []


def test_rate_warms_up_and_ends_at_zero() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0)
    rates = [loop.learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_segments_are_reproducible_and_shaped() -> None:
    first = Sampler(_items(), 1.0, AugmentConfig(), 5).segments(2)
    again = Sampler(_items(), 1.0, AugmentConfig(), 5).segments(2)
    assert first[0].shape == (2, 100, 83)
    assert first[1].shape == (2, 50, len(CONTROLS))
    np.testing.assert_array_equal(first[0], again[0])


def test_a_pool_is_kept_on_disk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = WhisperEncoder(layers=1).eval().requires_grad_(False)
    pool = build_pool(_items(), encoder, tmp_path, 2, 1.0, AugmentConfig(), 0, at_once=2)
    assert pool.seconds == pytest.approx(2 * 0.96, abs=0.1)
    stamp = next(tmp_path.glob("part-*.npz")).stat().st_mtime_ns
    again = build_pool([], encoder, tmp_path, 2, 1.0, AugmentConfig(), 0, at_once=2)
    assert next(tmp_path.glob("part-*.npz")).stat().st_mtime_ns == stamp
    batch, twin = (p.batch(3, 20, np.random.default_rng(0)) for p in (pool, again))
    torch.testing.assert_close(batch.inputs, twin.inputs)
    assert batch.inputs.shape == (3, 20, 390)


def test_parts_of_a_pool_are_encoded_in_chunks_by_turns(tmp_path: Path) -> None:
    """Parts of long and short chunks are as long as each other; what is asked for is the same, what is heard is not."""
    torch.manual_seed(0)
    encoder = WhisperEncoder(layers=1).eval().requires_grad_(False)
    mixed = build_pool(_items(), encoder, tmp_path / "mixed", 4, 1.0, AugmentConfig(), 0, at_once=2, chunks=(4, 1))
    plain = build_pool(_items(), encoder, tmp_path / "plain", 4, 1.0, AugmentConfig(), 0, at_once=2)
    assert mixed.seconds == plain.seconds
    for part, equal in ((0, True), (1, False)):
        parts = [np.load(tmp_path / kind / f"part-{part:04d}.npz") for kind in ("mixed", "plain")]
        np.testing.assert_array_equal(parts[0]["controls"], parts[1]["controls"])
        assert np.array_equal(parts[0]["inputs"], parts[1]["inputs"]) == equal


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(BadInputError, match="no recordings"):
        Sampler([], 1.0, AugmentConfig(), 0)


@pytest.mark.parametrize("seed", range(12))
def test_augmentation_keeps_time_and_range(seed: int) -> None:
    times = np.arange(16_000)
    burst = np.where((times > 6_000) & (times < 10_000), np.sin(times / 5), 0.0).astype(np.float32)
    babble = np.random.default_rng(9).standard_normal(16_000).astype(np.float32)
    config = AugmentConfig(lowest_snr_db=15.0)
    out = augment(burst, babble, np.random.default_rng(seed), config)
    assert out.shape == burst.shape and np.isfinite(out).all() and np.abs(out).max() <= 1.0
    energy = np.convolve(np.square(out), np.ones(800), mode="same")
    assert 5_500 < int(energy.argmax()) < 11_500


def test_speed_changes_length_and_pitch() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32)
    fast = change_speed(tone, 1.25)
    assert len(fast) == 12_800
    spectrum = np.abs(np.fft.rfft(fast[2_000:10_000]))
    assert int(spectrum.argmax()) * 16_000 / 8_000 == pytest.approx(250, abs=4)


def test_resampling_keeps_a_tone_and_refuses_nothing_less() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000).astype(np.float32)
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(dsp.resample(tone, 16_000)[500:-500], wanted[500:-500], atol=0.02)
    with pytest.raises(ShapeError):
        dsp.resample(np.zeros((2, 2), np.float32), 4)


def test_smoothing_keeps_the_sum_and_convolution_is_causal() -> None:
    pulse = np.zeros(101, np.float32)
    pulse[50] = 1.0
    assert dsp.smooth(pulse, 3.0).sum() == pytest.approx(1.0, abs=1e-5)
    out = dsp.convolve(pulse, np.array([1.0, 0.5], np.float32))
    np.testing.assert_allclose(out[49:53], [0, 1, 0.5, 0], atol=1e-6)


def test_configuration_files(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("steps = 7\nheld_out = ['x']\n[network]\nmemory = 32\n[augment]\nroom = 1\n")
    config = read_config(path)
    assert (config.steps, config.held_out, config.network.memory, config.augment.room) == (7, ("x",), 32, 1)
    assert read_config(None) == TrainConfig()
    path.write_text("device = 'cuda'\nmixed = true\n")
    assert read_config(path) == TrainConfig(device="cuda", mixed=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 1", "unknown keys"),
        ("steps = 'many'", "expected int"),
        ("steps = 0", "at least 1"),
        ("[augment]\nroom = 2.0", "share"),
        ("window_s = 30.0", "window_s"),
        ("filmed_share = 1.5", "filmed_share is 1.5, expected a share"),
        ("filmed_segments = 0", "filmed_segments is 0"),
        ("time_jitter_ms = -20", "time_jitter_ms is -20"),
        ("time_jitter_ms = 9000", "window_s is 6.0, expected 1 ... 1.92: within a segment"),
        ("averaging = 1.0", "averaging is 1.0, expected 0"),
        ("averaging = -0.1", "averaging is -0.1"),
        ("chunks = [3]", "chunks are"),
        ("device = 'gpu'", "device is 'gpu', expected one of cpu, cuda"),
        ("mixed = 1", "mixed is 1, expected bool"),
        ("steps = ", "not a configuration"),
    ],
)
def test_wrong_configuration_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_config(path)


def test_opening_is_measured_between_the_inner_lips() -> None:
    rest = np.zeros((68, 3), np.float32)
    rest[66, 1] = 0.02
    moved = np.zeros((1, 68, 3), np.float32)
    moved[0, 66, 1] = 0.1
    assert opening_of(moved, rest)[0] == pytest.approx(0.12)
