"""One contestant in PyTorch: seconds of a training step or of sampling, as a line of JSON. See run.py.

`dit` is a plain implementation of our own block (adaLN-single, QK-norm, rotation, attention to text, gated
MLP) with `scaled_dot_product_attention`; the others are diffusers' classes at the same width, depth and
tokens, as they are. Latte's layers are pairs of a spatial and a temporal block, so it has half as many.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import time

import torch
import torch.nn.functional as F
from shapes import CHANNELS, GUIDANCE, PATCH, SHAPES, TEXT_TOKENS, Shape, times
from torch import nn


class Attention(nn.Module):
    """Of x to x, or to text; RMS-normalised queries and keys."""

    def __init__(self, width: int, heads: int, source: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(source, width)
        self.value, self.out = nn.Linear(source, width), nn.Linear(width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, x, memory, rotation=None):
        def split(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key = self.query_norm(split(self.query(x))), self.key_norm(split(self.key(memory)))
        if rotation is not None:
            query, key = rotate(query, *rotation), rotate(key, *rotation)
        out = F.scaled_dot_product_attention(query, key, split(self.value(memory)))
        return self.out(out.transpose(1, 2).flatten(2))


def rotate(x, cos, sin):
    """Pairs of the head's halves turned by their angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Block(nn.Module):
    """One layer of `DiT`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, h = shape.width, shape.hidden
        self.offset = nn.Parameter(torch.zeros(6, d))
        self.attention, self.cross = Attention(d, shape.heads, d), Attention(d, shape.heads, d)
        self.cross_norm = nn.RMSNorm(d)
        self.gate, self.up, self.down = nn.Linear(d, h), nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x, modulation, text, rotation):
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset).unsqueeze(2).unbind(1)
        h = F.rms_norm(x, x.shape[-1:]) * (1 + scale1) + shift1
        x = x + gate1 * self.attention(h, h, rotation)
        x = x + self.cross(self.cross_norm(x), text)
        h = F.rms_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        return x + gate2 * self.down(F.silu(self.gate(h)) * self.up(h))


class DiT(nn.Module):
    """Patches and their noise level in, velocities of patches out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        patch, d = CHANNELS * PATCH[1] * PATCH[2], shape.width
        self.embed, self.head = nn.Linear(patch, d), nn.Linear(d, patch)
        self.level = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, 6 * d))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        angles = torch.arange(shape.tokens)[:, None] * 100.0 ** -torch.linspace(0, 1, d // shape.heads // 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, -9, 128)))

    def forward(self, x, t, text):
        phase = t[:, None] * 1000 * self.frequencies
        level = torch.cat([phase.cos(), phase.sin()], dim=-1)
        modulation = self.level(level.to(x.dtype)).unflatten(-1, (6, -1))
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, modulation, text, (self.cos.to(x.dtype), self.sin.to(x.dtype)))
        return self.head(F.rms_norm(x, x.shape[-1:]))


def contestant(name: str, shape: Shape):
    """(model, velocity(model, x, t, text), shape of x without the batch)."""
    frames, height, width = (side * p for side, p in zip(shape.grid, PATCH, strict=True))
    heads, d = shape.heads, shape.width
    if name == "dit":
        patch = CHANNELS * PATCH[1] * PATCH[2]
        return DiT(shape), lambda m, x, t, text: m(x, t, text), (shape.tokens, patch)
    import diffusers  # which our own block does not need

    match name:
        case "wan":
            model = diffusers.WanTransformer3DModel(
                patch_size=PATCH,
                num_attention_heads=heads,
                attention_head_dim=64,
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                text_dim=d,
                ffn_dim=4 * d,
                num_layers=shape.depth,
            )
            return (
                model,
                lambda m, x, t, text: m(x, 1000 * t, text, return_dict=False)[0],
                (CHANNELS, frames, height, width),
            )
        case "cogvideox":
            model = diffusers.CogVideoXTransformer3DModel(
                num_attention_heads=heads,
                attention_head_dim=64,
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                text_embed_dim=d,
                num_layers=shape.depth,
                sample_width=width,
                sample_height=height,
                sample_frames=4 * (frames - 1) + 1,
                max_text_seq_length=TEXT_TOKENS,
            )
            return (
                model,
                lambda m, x, t, text: m(x, text, 1000 * t, return_dict=False)[0],
                (frames, CHANNELS, height, width),
            )
        case "latte":
            model = diffusers.LatteTransformer3DModel(
                num_attention_heads=heads,
                attention_head_dim=64,
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                num_layers=shape.depth // 2,
                cross_attention_dim=d,
                caption_channels=d,
                sample_size=height,
                patch_size=2,
                video_length=frames,
                activation_fn="gelu-approximate",
                norm_type="ada_norm_single",
                attention_bias=True,
            )
            return (
                model,
                lambda m, x, t, text: (
                    m(
                        x, timestep=1000 * t, encoder_hidden_states=text, enable_temporal_attentions=True
                    ).sample
                ),
                (CHANNELS, frames, height, width),
            )
    raise ValueError(name)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--what", choices=["train", "sample"], required=True)
    parser.add_argument("--model", choices=["dit", "wan", "cogvideox", "latte"], required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--turn", action="store_true", help="wait for a line before the timed calls")
    options = parser.parse_args()
    shape, device = SHAPES[options.shape], torch.device(options.device)
    torch.manual_seed(0)
    model, velocity, size = contestant(options.model, shape)
    model = model.to(device)
    called = torch.compile(model) if options.compile else model
    rows = shape.batch if options.what == "train" else 1
    clean = torch.randn(rows, *size, device=device)
    text = torch.randn(rows, TEXT_TOKENS, shape.width, device=device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    ends = (-1,) + (1,) * len(size)

    if options.what == "train":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
        parameters = list(model.parameters())
        ema = [p.detach().clone() for p in parameters]

        def run(number: int) -> float:
            t, noise = torch.sigmoid(torch.randn(rows, device=device)), torch.randn_like(clean)
            level = t.view(ends)
            with mixed:
                found = velocity(called, (1 - level) * clean + level * noise, t, text)
                loss = F.mse_loss(found.float()[:, : size[0]], noise - clean)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(ema, parameters, 0.001)
            return loss.item()
    else:

        @torch.no_grad()
        def run(number: int) -> float:
            x, both = torch.randn_like(clean), torch.cat([text, torch.zeros_like(text)])
            for step in range(shape.steps):
                t = torch.full((2 * rows,), 1 - step / shape.steps, device=device)
                with mixed:
                    found = velocity(called, torch.cat([x, x]), t, both)[:, : size[0]]
                told, untold = found.float().chunk(2)
                x = x - (untold + GUIDANCE * (told - untold)) / shape.steps
            return float(x.sum())

    begun = time.perf_counter()
    run(0)
    first = time.perf_counter() - begun
    seconds = times(run, budget=options.seconds, turn=options.turn)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    used = ("torch",) if options.model == "dit" else ("torch", "diffusers")
    print(
        json.dumps(
            {
                "seconds": seconds,
                "first": first,
                "parameters": sum(p.numel() for p in model.parameters()),
                "gib": memory / 2**30,
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
                "versions": {name: importlib.metadata.version(name) for name in used},
            }
        )
    )


if __name__ == "__main__":
    main()
