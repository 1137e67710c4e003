"""A recurrent encoder-decoder with torch.nn's cells, float64, one sentence at a time, written from the definitions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "vanilla": nn.RNNCell}


class TorchRecurrent:
    """Without residual connections."""

    def __init__(self, model):
        self.config = model.config
        self.t = {name: torch.tensor(value, dtype=torch.float64) for name, value in model.tensors.items()}
        kind = self.config.cell if self.config.decoder_cell == "same" else self.config.decoder_cell
        self.transform = "decoder.transform.weight" in self.t
        self.decoder, self.kind = self.cells("decoder", kind), kind
        self.encoders = {
            way: self.cells(f"encoder.{way}", self.config.cell)
            for way in ("forward", "backward") if f"encoder.{way}.0.input" in self.t
        }  # fmt: skip

    def cells(self, name, kind):
        found = []
        while f"{name}.{len(found)}.input" in self.t:
            of = f"{name}.{len(found)}"
            weight, inner = self.t[f"{of}.input"], self.t[f"{of}.recurrent"]
            cell = CELLS[kind](weight.shape[1], inner.shape[1]).double()
            cell.weight_ih.data, cell.weight_hh.data, cell.bias_ih.data = weight, inner, self.t[f"{of}.bias"]
            cell.bias_hh.data = self.t.get(f"{of}.recurrent_bias", torch.zeros(len(inner), dtype=torch.float64))
            found.append(cell)
        return found

    def affine(self, name, x):
        return x @ self.t[f"{name}.weight"].T + self.t.get(f"{name}.bias", 0.0)

    def run(self, cells, x, kind):
        for cell in cells:
            state, out = None, []
            for each in x:
                state = cell(each[None], state)
                out.append((state[0] if kind == "lstm" else state)[0])
            x = torch.stack(out)
        return x

    @torch.no_grad()
    def log_probabilities(self, source, tokens):
        config, units = self.config, self.config.units
        x = self.t["source.embedding"][torch.tensor(source)]
        sides, finals = [], []
        for way, cells in self.encoders.items():
            out = self.run(cells, x.flip(0) if way == "backward" else x, config.cell)
            finals.append(out[-1])
            sides.append(out.flip(0) if way == "backward" else out)
        memory, final = torch.cat(sides, 1), torch.cat(finals)
        states = self.first(final)
        context = torch.zeros(memory.shape[1], dtype=torch.float64)
        found = []
        for token in tokens:
            x = self.t["target.embedding"][int(token)]
            if config.feed == "context":
                x = torch.cat([x, context])
            residual = None
            if self.transform:
                x = self.affine("decoder.transform", x)
            for place, cell in enumerate(self.decoder):
                residual = x if config.decoder_residual == "add" else 0.0
                states[place] = cell(x[None], states[place])
                x = (states[place][0] if self.kind == "lstm" else states[place])[0] + residual
            if config.attention != "none":
                keys, query = self.affine("attention.key", memory), self.affine("attention.query", x)
                if config.attention == "additive":
                    scores = torch.tanh(keys + query) @ self.t["attention.score"]
                else:
                    scores = keys @ query
                context = scores.softmax(0) @ memory
                x = torch.tanh(self.affine("mix", torch.cat([x, context])))
            found.append(self.affine("softmax", x).log_softmax(0).numpy())
        assert x.shape == (units,)
        return np.stack(found)

    def first(self, final):
        config = self.config
        wide = len(self.decoder) * config.units * (2 if self.kind == "lstm" else 1)
        whole = torch.zeros(wide, dtype=torch.float64)
        if config.bridge != "zero":
            whole = self.affine("bridge", final)
            whole = whole.tanh() if config.bridge == "tanh" else whole
        parts = whole.reshape(len(self.decoder), 1, -1)
        if self.kind == "lstm":
            return [tuple(each.chunk(2, dim=1)) for each in parts]
        return list(parts)
