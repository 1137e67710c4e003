"""A recurrent encoder-decoder with torch.nn's cells, float64, one sentence at a time, written from the definitions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "vanilla": nn.RNNCell}


class TorchRecurrent:
    """Log-probabilities of one text after the other."""

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

    def joined(self, residual, inputs, output):
        """x_(l+1) of the outputs and all inputs so far (spec: h_l + x_l, or h_l + the sum of x_j, j <= l)."""
        if residual == "none":
            return output
        return output + (inputs[-1] if residual == "add" else sum(inputs))

    def run(self, way, x):
        kind, residual, inputs = self.config.cell, self.config.encoder_residual, []
        x = x.flip(0) if way == "backward" else x
        if f"encoder.{way}.transform.weight" in self.t:
            x = self.affine(f"encoder.{way}.transform", x)
        for cell in self.encoders[way]:
            state, out = None, []
            for each in x:
                state = cell(each[None], state)
                out.append((state[0] if kind == "lstm" else state)[0])
            inputs.append(x)
            last, x = out[-1], self.joined(residual, inputs, torch.stack(out))
        return (x.flip(0) if way == "backward" else x), last

    @torch.no_grad()
    def log_probabilities(self, source, tokens):
        config, units = self.config, self.config.units
        x = self.t["source.embedding"][torch.tensor(source)]
        sides, finals = zip(*(self.run(way, x) for way in self.encoders), strict=True)
        memory, final = torch.cat(sides, 1), torch.cat(finals)
        states, own, found = self.first(final), [], []
        fed = final if config.feed == "final" else torch.zeros(memory.shape[1], dtype=torch.float64)
        for token in tokens:
            x = self.t["target.embedding"][int(token)]
            x = torch.cat([x, fed]) if config.feed != "none" else x
            x = self.affine("decoder.transform", x) if self.transform else x
            inputs = []
            for place, cell in enumerate(self.decoder):
                states[place] = cell(x[None], states[place])
                inputs.append(x)
                output = (states[place][0] if self.kind == "lstm" else states[place])[0]
                x = self.joined(config.decoder_residual, inputs, output)
            parts = [x]
            if config.attention != "none":
                keys, query = self.affine("attention.key", memory), self.affine("attention.query", x)
                additive = config.attention == "additive"
                scores = torch.tanh(keys + query) @ self.t["attention.score"] if additive else keys @ query
                parts.append(scores.softmax(0) @ memory)
                fed = parts[1] if config.feed == "context" else fed
            if config.self_attention:
                own.append(x)
                past = torch.stack(own)
                parts.append((past @ self.affine("self_attention.query", x) / units**0.5).softmax(0) @ past)
            x = torch.tanh(self.affine("mix", torch.cat(parts))) if len(parts) > 1 else x
            found.append(self.affine("softmax", x).log_softmax(0).numpy())
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
