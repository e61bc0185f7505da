"""The rules of the codec contract: what a codec must do so that its layer-wise numbers mean what they say, and how to mend it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from laminal.codecs.base import Codec
from laminal.errors import RequestError

TOLERANCE = 1e-5  # of a layer's scale: what float32 sums may differ by
ROUNDING = 1e-6  # of the scale: less than this is no response
BATCH_TOLERANCE = 1e-3  # of the latent's scale: other kernels serve other batch sizes
BATCH_CODES = 0.005  # of the codes: those of frames that lie between two entries
BURST = 0.3  # amplitude of what is changed, beside speech of 0.1
DRIFT = 0.02  # relative error of the frame rate
STARTED = 12  # frames from which on causality is asked: padding by reflection lets the first few hear audio after them
DELAY_S = 0.1  # a response further than this (and than 3 frames) from what caused it is a wrong clock


class BrokenRuleError(Exception):
    """A rule does not hold: what was found, and what to do."""

    def __init__(self, said: str, cure: str):
        super().__init__(said)
        self.said, self.cure = said, cure


class NotApplicableError(Exception):
    """A rule does not apply to this codec."""


@dataclass
class Subject:
    """A codec under test and the sounds that it is tested with."""

    codec: Codec
    sounds: Float[Tensor, "b t"]
    facts: dict[str, float] = field(default_factory=dict)  # measured: delay_s, lookahead_s

    @property
    def hop(self) -> float:
        """Samples of a frame."""
        return self.codec.sample_rate / self.codec.frame_rate

    @cached_property
    def codes(self) -> Tensor:
        """Codes of all sounds."""
        if not self.codec.codebooks:
            raise NotApplicableError("no codebooks")
        return self.codec.encode(self.sounds)

    @cached_property
    def heard(self) -> dict[str, Tensor]:
        """Layers of all sounds, from audio."""
        return self.codec.layers(self.sounds)

    @cached_property
    def drawn(self) -> Tensor:
        """Codes that use every codebook in full, whatever the sounds' own codes are."""
        return self.random_codes(0)

    def random_codes(self, seed: int) -> Tensor:
        """Codes drawn at random, of the shape of the sounds' own."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.codec.codebook_size, self.codes.shape, generator=generator).to(self.codes.device)

    def decoded(self, codes: Tensor) -> Tensor:
        """Audio of `codes`; a codec may say by RequestError or NotImplementedError that it has no decoder."""
        try:
            return self.codec.decode(codes)
        except (RequestError, NotImplementedError) as error:
            raise NotApplicableError(f"decode: {error or 'not offered'}") from error

    def encoded(self, wav: Float[Tensor, "b t"], local: bool = False) -> Tensor:
        """Give the latent; where there is none the last layer or, where locality counts, the first."""
        layers = self.codec.layers(wav)
        return layers["latent"] if "latent" in layers else layers[numbered(layers)[0 if local else -1]]


Rule = Callable[[Subject], str]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Enter a rule into RULES."""

    def enter(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return enter


def numbered(layers: dict[str, Any]) -> list[str]:
    """Layers "1".."K", in order."""
    return sorted((name for name in layers if name.isdigit()), key=int)


def _apart(a: Tensor, b: Tensor) -> float:
    """Largest difference, in units of b's scale."""
    scale = float(b.abs().max())
    return float((a - b).abs().max()) / scale if scale > 0 else float((a - b).abs().max())


@rule("codes")
def codes(subject: Subject) -> str:
    """Require (b, q, n) of int64, each below codebook_size."""
    codec, found = subject.codec, subject.codes
    wanted = (len(subject.sounds), codec.codebooks)
    if found.ndim != 3 or tuple(found.shape[:2]) != wanted:
        raise BrokenRuleError(f"encode gives {tuple(found.shape)}, not (b, q, n) with (b, q) = {wanted}", "stack codebooks on axis 1")
    if found.dtype != torch.int64:
        raise BrokenRuleError(f"codes are {found.dtype}, not torch.int64", "add .long()")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= codec.codebook_size:
        raise BrokenRuleError(
            f"codes from {low} to {high}, codebook_size is {codec.codebook_size}", "give the size of the largest codebook"
        )
    return f"{tuple(found.shape)} int64, {low} to {high} of {codec.codebook_size}"


@rule("layers")
def layers(subject: Subject) -> str:
    """Require layers "1".."K" (b, n, d) of one shape, floating and finite; with codebooks K of them and, from audio, "latent"."""
    codec, found = subject.codec, subject.heard
    names = numbered(found)
    wanted = [str(k) for k in range(1, (codec.codebooks or len(names)) + 1)]
    if names != wanted or not names:
        cure = "name them '1' .. 'K', one for each codebook"
        raise BrokenRuleError(f"layers(wav) names {', '.join(found) or 'nothing'}; {len(wanted)} numbered ones are expected", cure)
    if codec.codebooks and "latent" not in found:
        raise BrokenRuleError("layers(wav) has no 'latent'", "give the encoder's output before quantization under that name")
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    odd = next((name for name, shape in shapes.items() if len(shape) != 3 or shape != shapes["1"] or shape[0] != len(subject.sounds)), None)
    if odd is not None:
        cure = "layers are (b, n, d) in one common space: project codebooks of other widths, and the latent, into it"
        raise BrokenRuleError(f"layer {odd} is {shapes[odd]}, layer 1 is {shapes['1']} for {len(subject.sounds)} sounds", cure)
    if not all(value.is_floating_point() for value in found.values()):
        raise BrokenRuleError("layers are not floating-point tensors", "add .float()")
    bad = [name for name, value in found.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise BrokenRuleError(f"layer {bad[0]} holds NaN or infinity", "check norms and logarithms for 0")
    with torch.enable_grad():
        carried = codec.layers(subject.sounds[:1, : round(3 * subject.hop)])
    if any(value.requires_grad for value in carried.values()):
        raise BrokenRuleError("layers carry gradients", "decorate with @torch.no_grad()")
    return (
        f"{', '.join(names[:2])}{' .. ' + names[-1] if len(names) > 2 else ''}{' and latent' if 'latent' in found else ''}, {shapes['1']}"
    )


@rule("rates")
def rates(subject: Subject) -> str:
    """Require t x frame_rate frames of t seconds, to within 2, and twice as many of twice as many seconds."""
    codec = subject.codec
    whole, half = subject.sounds.shape[1], subject.sounds.shape[1] // 2
    counts = [subject.encoded(subject.sounds[:1, :length]).shape[1] for length in (half, whole)]
    wanted = [length / codec.sample_rate * codec.frame_rate for length in (half, whole)]
    said = f"{half / codec.sample_rate:g} s give {counts[0]} frames, {whole / codec.sample_rate:g} s give {counts[1]}"
    if any(abs(count - want) > 2 for count, want in zip(counts, wanted)) or abs(np.diff(counts)[0] - np.diff(wanted)[0]) > 1:
        cure = "set frame_rate to sample_rate / hop (latent frames, not samples or codes of all codebooks)"
        raise BrokenRuleError(f"{said}; frame_rate {codec.frame_rate:g} asks for {wanted[0]:.1f} and {wanted[1]:.1f}", cure)
    if codec.codebooks and subject.codes.shape[2] != counts[1]:
        raise BrokenRuleError(f"encode gives {subject.codes.shape[2]} frames and layers {counts[1]}", "let both see the same frames")
    return f"{said}: {codec.frame_rate:g} frames/s"


@rule("determinism")
def determinism(subject: Subject) -> str:
    """Require the same bytes of the same audio, whatever was encoded in between, and no draw from a global random generator."""
    first, other = subject.sounds[:1], subject.sounds[1:2]
    torch_state, numpy_state = torch.get_rng_state(), _numpy_state()
    before = subject.encoded(first)
    earlier = subject.codec.encode(first) if subject.codec.codebooks else before
    subject.encoded(other)
    again = subject.codec.encode(first) if subject.codec.codebooks else before
    if not torch.equal(before, subject.encoded(first)) or not torch.equal(earlier, again):
        cure = "put the model into eval() and reset whatever state it streams with at every call"
        raise BrokenRuleError("the same audio gives other numbers the second time", cure)
    if subject.codec.codebooks and not _decodes_alike(subject, subject.drawn[:1]):
        raise BrokenRuleError("the same codes give other audio the second time", "reset the decoder's state, draw no noise")
    if not torch.equal(torch_state, torch.get_rng_state()) or numpy_state != _numpy_state():
        raise BrokenRuleError("a global random generator was drawn from", "use a torch.Generator of your own: a training would change")
    return "the same audio gives the same bytes; no global random generator is used"


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state()
    return state[1].tobytes(), state[2]


def _decodes_alike(subject: Subject, drawn: Tensor) -> bool:
    try:
        return torch.equal(subject.decoded(drawn), subject.decoded(drawn))
    except NotApplicableError:
        return True


@rule("batch = single")
def batch_is_single(subject: Subject) -> str:
    """Require of a batch what its rows give alone."""
    whole = subject.encoded(subject.sounds)
    alone = torch.cat([subject.encoded(row[None]) for row in subject.sounds])
    if whole.shape != alone.shape:
        raise BrokenRuleError(f"a batch gives {tuple(whole.shape)}, its rows {tuple(alone.shape)}", "encode row by row")
    far = _apart(whole, alone)
    cure = "no statistics over the batch (norms, padding to the longest); else encode row by row"
    if far > BATCH_TOLERANCE:
        raise BrokenRuleError(f"a batch of {len(whole)} differs from its rows by {far:.2g} of the scale", cure)
    if not subject.codec.codebooks:
        return f"{len(whole)} rows differ by {far:.1g} of the scale"
    rows = torch.cat([subject.codec.encode(row[None]) for row in subject.sounds])
    share = float((rows != subject.codes).double().mean())
    if share > BATCH_CODES:
        raise BrokenRuleError(f"{share:.1%} of the codes of a batch differ from those of its rows", cure)
    return f"{len(whole)} rows: {share:.2%} of the codes and {far:.1g} of the latent's scale differ"


@rule("look-up")
def look_up(subject: Subject) -> str:
    """Require that layers of audio are the layers of its codes, and that a frame depends on its own codes alone."""
    found = subject.codec.layers(subject.codes)
    names = numbered(subject.heard)
    if numbered(found) != names:
        raise BrokenRuleError(f"layers(codes) names {', '.join(found)}, layers(wav) {', '.join(names)}", "give the same layers for both")
    far = max(_apart(found[name], subject.heard[name]) for name in names)
    if far > TOLERANCE:
        cure = "in layers(wav) encode, then look the codes up; the features of a layer are those of its codes"
        raise BrokenRuleError(f"layers(codes) and layers(wav) differ by {far:.2g} of the scale", cure)
    changed, middle = subject.drawn.clone(), subject.drawn.shape[2] // 2
    changed[:, :, middle] = (changed[:, :, middle] + 1) % subject.codec.codebook_size
    last = names[-1]
    moved = (subject.codec.layers(changed)[last] - subject.codec.layers(subject.drawn)[last]).abs().amax((0, 2))
    elsewhere = float(torch.cat([moved[:middle], moved[middle + 1 :]]).max()) if len(moved) > 1 else 0.0
    if elsewhere > TOLERANCE * float(subject.codec.layers(subject.drawn)[last].abs().max()):
        cure = "stop before the decoder's own context (convolutions, attention): F_k is a sum of table entries of that frame"
        raise BrokenRuleError(f"changing frame {middle} alone changes other frames of layer {last}", cure)
    return f"layers(codes) = layers(wav) to {far:.1g} of the scale; a frame depends on its own codes alone"


@rule("layers sum")
def layers_sum(subject: Subject) -> str:
    """Require that layer k minus layer k - 1 is codebook k alone: codes of the other codebooks do not change it."""
    if subject.codes.shape[1] < 2:
        raise NotApplicableError("one codebook")
    one, two = subject.drawn, subject.random_codes(1)
    layers_one = subject.codec.layers(one)
    worst, where = 0.0, 1
    for k in _some(one.shape[1]):
        mixed = two.clone()
        mixed[:, k - 1] = one[:, k - 1]
        layers_mixed = subject.codec.layers(mixed)
        scale = float(layers_one[str(k)].abs().max()) or 1.0
        far = float((_step(layers_one, k) - _step(layers_mixed, k)).abs().max()) / scale
        worst, where = max((worst, where), (far, k))
    if worst > 10 * TOLERANCE:  # two subtractions of two sums each
        cure = "add up the decoded, projected vectors of codebooks 1..k; not each codebook alone, not concatenated, not renormalised"
        raise BrokenRuleError(f"what codebook {where} adds changes by {worst:.2g} of the scale with the codes of the others", cure)
    return f"layer k - layer k-1 is codebook k alone, to {worst:.1g} of the scale ({len(_some(one.shape[1]))} codebooks tried)"


def _step(found: dict[str, Tensor], k: int) -> Tensor:
    return found[str(k)] - found[str(k - 1)] if k > 1 else found["1"]


def _some(count: int, most: int = 8) -> list[int]:
    """At most `most` codebooks, evenly, with the first and the last."""
    return sorted({round(place) for place in np.linspace(1, count, min(count, most))})


@rule("prefix")
def prefix(subject: Subject) -> str:
    """Require layers "1".."k" of the first k codebooks alone, and audio as long as that of all."""
    whole = subject.codec.layers(subject.drawn)
    length = None
    for k in _some(subject.drawn.shape[1], 4):
        part = subject.codec.layers(subject.drawn[:, :k])
        if numbered(part) != [str(each) for each in range(1, k + 1)]:
            raise BrokenRuleError(f"layers of the first {k} codebooks are {', '.join(part)}", f"give '1' .. '{k}' for codes (b, {k}, n)")
        far = max(_apart(part[name], whole[name]) for name in numbered(part))
        if far > TOLERANCE:
            raise BrokenRuleError(
                f"layers of the first {k} codebooks differ by {far:.2g} of the scale from those of all", "use the same sum"
            )
        length = _length(subject, k, length)
    said = "layers" if length is None else "layers and audio"
    return f"{said} of the first {', '.join(map(str, _some(subject.drawn.shape[1], 4)))} codebooks"


def _length(subject: Subject, k: int, before: int | None) -> int | None:
    try:
        found = subject.decoded(subject.drawn[:1, :k]).shape[-1]
    except NotApplicableError:
        return None
    if before is not None and found != before:
        raise BrokenRuleError(f"{k} codebooks decode to {found} samples, fewer of them to {before}", "decode every prefix to whole frames")
    return found


@rule("decode hears")
def decode_hears(subject: Subject) -> str:
    """Require that a codebook that changes the audio changes its layer, and the other way round."""
    base = subject.decoded(subject.drawn[:1])
    before, silent = subject.codec.layers(subject.drawn[:1]), []
    for k in _some(subject.drawn.shape[1]):
        other = subject.drawn[:1].clone()
        other[:, k - 1] = subject.random_codes(2)[:1, k - 1]
        after = subject.codec.layers(other)
        in_layer = _apart(after[str(k)], before[str(k)]) > ROUNDING
        in_audio = _apart(subject.decoded(other), base) > ROUNDING
        if in_audio and not in_layer:
            cure = "sum all that the decoder is given: F_K is the decoder's own input"
            raise BrokenRuleError(f"codebook {k} changes the decoded audio and not layer {k}", cure)
        if in_layer and not in_audio:
            silent.append(k)
    if silent:
        cure = "decode all codebooks given"
        raise BrokenRuleError(f"codebook {', '.join(map(str, silent))} changes its layer and not the decoded audio", cure)
    return "every codebook tried changes both its layer and the audio"


@rule("decode layers")
def decode_layers(subject: Subject) -> str:
    """Require, where a codec offers `decode_features` (b, n, d) -> (b, t), that decoding layer k is decoding the first k codebooks."""
    decode: Any = getattr(subject.codec, "decode_features", None)
    if decode is None:
        raise NotApplicableError("no decode_features(features) -> audio, which would show that layer K is the decoder's input")
    found = subject.codec.layers(subject.drawn[:1])
    worst = 0.0
    for k in _some(subject.drawn.shape[1], 4):
        worst = max(worst, _apart(decode(found[str(k)]), subject.decoded(subject.drawn[:1, :k])))
    if worst > 100 * TOLERANCE:
        cure = "layer k must be what the decoder is given for the first k codebooks: after the output projection, in its scale"
        raise BrokenRuleError(f"decoding layers and decoding codes differ by {worst:.2g} of the scale", cure)
    return f"decoding layer k is decoding the first k codebooks, to {worst:.1g} of the scale"


@rule("one pass")
def one_pass(subject: Subject) -> str:
    """Require of `codes_and_latent`, where a codec offers it, what encode and layers give."""
    both: Any = getattr(subject.codec, "codes_and_latent", None)
    if both is None:
        raise NotApplicableError("no codes_and_latent(wav), which would save a pass of the encoder")
    found, latent = both(subject.sounds)
    if not torch.equal(found, subject.codes):
        raise BrokenRuleError("codes_and_latent gives other codes than encode", "make encode call it")
    far = _apart(latent, subject.heard["latent"])
    if far > TOLERANCE:
        raise BrokenRuleError(f"codes_and_latent's latent differs by {far:.2g} of the scale from layers(wav)['latent']", "make it one")
    return "codes_and_latent = encode and layers"


@rule("round trip")
def round_trip(subject: Subject) -> str:
    """Require decoded audio (b, t'), finite, and as long as what was encoded, to within 2 hops."""
    wav = subject.decoded(subject.codes)
    samples = subject.sounds.shape[1]
    if wav.ndim != 2 or len(wav) != len(subject.sounds) or not wav.is_floating_point():
        raise BrokenRuleError(f"decode gives {wav.dtype} {tuple(wav.shape)}, not floating (b, t)", "squeeze channels, keep the batch")
    if abs(wav.shape[1] - samples) > 2 * subject.hop:
        cure = "decode n frames to about n x hop samples: the wrong rate?"
        raise BrokenRuleError(f"{samples} samples come back as {wav.shape[1]}; a hop is {subject.hop:g}", cure)
    if not bool(torch.isfinite(wav).all()):
        raise BrokenRuleError("decoded audio holds NaN or infinity", "check the decoder in float32")
    both = min(samples, wav.shape[1])
    match = torch.nn.functional.cosine_similarity(wav[:, :both], subject.sounds[:, :both]).mean()
    return f"{samples} samples come back as {wav.shape[1]}; correlation with the original {float(match):.2f}"


@rule("frame clock")
def frame_clock(subject: Subject) -> str:
    """Require that a burst at s moves the frame centred near s most, all along the audio; how far off is the codec's delay."""
    codec = subject.codec
    count = subject.sounds.shape[1]
    frames = subject.encoded(subject.sounds[:1]).shape[1]
    width = max(1, round(subject.hop))
    places = np.linspace(0.15, 0.85, 12) * count
    quiet = subject.sounds[:1].repeat(len(places), 1)
    loud = quiet.clone()
    burst = (
        torch.randn(width, generator=torch.Generator().manual_seed(3)) + torch.linspace(0, torch.pi, width).sin()
    )  # all frequencies, 0 too
    for row, place in enumerate(places):
        loud[row, round(place) : round(place) + width] += BURST * burst.to(loud.device)
    moved = (subject.encoded(loud, local=True) - subject.encoded(quiet, local=True)).double().pow(2).sum(2)  # b n
    if not bool((moved.amax(1) > 0).all()):
        raise BrokenRuleError("a loud burst changes no frame", "the features must follow the audio")
    # norms and attention over time move every frame: what stands out from that is the response, and its middle in energy the time
    energy = (moved - moved.median(1, keepdim=True).values).clamp(min=0).pow(2).cumsum(1)
    middle = (energy < energy[:, -1:] / 2).sum(1).cpu().numpy()
    centres, causes = (middle + 0.5) / codec.frame_rate, (np.round(places) + width / 2) / codec.sample_rate
    slope, _ = np.polyfit(causes, centres, 1)
    delay = float(np.median(centres - causes))
    subject.facts["delay_s"] = delay
    spread = 2 / codec.frame_rate / (causes[-1] - causes[0])  # a frame of error at either end
    if abs(slope - 1) > DRIFT + spread:
        cure = "frame k must be centred at (k + 0.5) / frame_rate: check frame_rate, and that nothing is stretched to a length"
        raise BrokenRuleError(f"responses move {slope:.3f} s for 1 s of audio", cure)
    said = f"responses are {abs(1000 * delay):.0f} ms {'late' if delay >= 0 else 'early'} of (k + 0.5) / rate ({frames} frames)"
    if abs(delay) > max(DELAY_S, 3 / codec.frame_rate):
        raise BrokenRuleError(said, "drop the frames (or shift the audio) that the codec lags or leads by")
    told = getattr(codec, "delay", None)
    if isinstance(told, (int, float)) and abs(told - delay) > 1.5 / codec.frame_rate:
        raise BrokenRuleError(f"{said}, the codec says delay = {1000 * told:.0f} ms", "store the measured delay (seconds)")
    return said


@rule("causality")
def causality(subject: Subject) -> str:
    """Measure whether audio changed from sample s on changes a frame before floor(s / hop); forbid it where `causal = True`."""
    first = subject.sounds[:1]
    ahead = 0
    for share in (0.31, 0.5, 0.77):
        begin = round(min(max(share * first.shape[1], STARTED * subject.hop), 0.77 * first.shape[1]))
        changed = first.clone()
        changed[:, begin:] = 0.3 * torch.randn(first.shape[1] - begin, generator=torch.Generator().manual_seed(4)).to(first.device)
        before, after = subject.encoded(first, local=True), subject.encoded(changed, local=True)
        differ = ((before - after).abs().amax((0, 2)) > TOLERANCE * before.abs().max()).nonzero()
        earliest = int(differ[0]) if len(differ) else before.shape[1]
        ahead = max(ahead, int(begin // subject.hop) - earliest)
    subject.facts["lookahead_s"] = ahead / subject.codec.frame_rate
    said = f"looks {ahead} frames ahead ({1000 * ahead / subject.codec.frame_rate:.0f} ms)" if ahead > 0 else "causal: no frame looks ahead"
    if ahead > 0 and getattr(subject.codec, "causal", None) is True:
        raise BrokenRuleError(f"{said}, and the codec says causal = True", "pad at the left only, or say causal = False")
    return said


@rule("odd lengths")
def odd_lengths(subject: Subject) -> str:
    """Require codes and layers of one frame count, at most 2 from length / hop, of lengths that are no multiple of the hop."""
    hop, counts = subject.hop, []
    for length in (round(7 * hop) + 1, round(9 * hop) - 1, round(10.5 * hop)):
        wav = subject.sounds[:1, :length]
        frames = subject.encoded(wav).shape[1]
        if abs(frames - length / hop) > 2:
            raise BrokenRuleError(f"{length} samples give {frames} frames, a hop is {hop:g}", "pad the end to whole frames")
        if subject.codec.codebooks:
            found = subject.codec.encode(wav)
            if found.shape[2] != frames:
                raise BrokenRuleError(f"{length} samples give {found.shape[2]} codes and {frames} frames of layers", "pad both alike")
        counts.append(f"{length} samples {frames}")
    return f"frames: {', '.join(counts)}"


@rule("short audio")
def short_audio(subject: Subject) -> str:
    """Require at least one frame of audio shorter than a hop, and of a single sample."""
    counts = []
    for length in (max(1, round(subject.hop / 2)), 1):
        wav = subject.sounds[:1, :length]
        frames = subject.encoded(wav).shape[1]
        if frames < 1 or (subject.codec.codebooks and subject.codec.encode(wav).shape[2] != frames):
            raise BrokenRuleError(f"{length} samples give {frames} frames", "pad the end with zeros to one frame")
        counts.append(f"{length} samples {frames}")
    return f"frames: {', '.join(counts)}"


@rule("silence")
def silence(subject: Subject) -> str:
    """Require finite layers of zeros."""
    found = subject.codec.layers(torch.zeros_like(subject.sounds[:1]))
    bad = [name for name, value in found.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise BrokenRuleError(f"zeros make layer {bad[0]} NaN or infinite", "add a floor to norms and logarithms")
    return "zeros give finite layers"
