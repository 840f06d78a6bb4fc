"""`config.json` of a checkpoint, with the names and defaults of the original code (`HGRNBitConfig`)."""

import dataclasses
import json
import math
from pathlib import Path

from .errors import Failure

MODEL_TYPE = "hgrn_bit"

# What else the original's config has: none of it changes a number here.
CONSTANT = {
    "architectures": ["HGRNBitForCausalLM"],
    "attn_mode": "fused_recurrent",
    "fuse_cross_entropy": True,
    "hidden_act": "swish",
    "max_position_embeddings": 2048,
    "model_type": MODEL_TYPE,
    "use_cache": True,
}

# Keys of forks that make another model of it, with the values that do not. `mmfree-convert` knows more of them.
FOREIGN = {
    "attn": None,
    "moe": None,
    "use_moe": None,
    "num_experts": None,
    "num_local_experts": None,
    "rotary_embeddings": None,
    "rope_scaling": None,
    "quantization_config": None,
    "weight_quant_group_size": None,
    "compressed_type": None,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes and variants of a model. Names are those of `config.json`."""

    vocab_size: int = 32000
    hidden_size: int = 2048
    num_hidden_layers: int = 24
    num_heads: int = 1
    expand_ratio: float = 1
    hidden_ratio: float | None = 4
    intermediate_size: int | None = None
    use_lower_bound: bool = True
    use_short_conv: bool = False
    conv_size: int = 4
    share_conv_kernel: bool = True
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def state_size(self) -> int:
        """D: width of the recurrence."""
        return int(self.hidden_size * self.expand_ratio)

    @property
    def mlp_size(self) -> int:
        """I: width of the gate and of the value in the channel mixing."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        ratio = 4 if self.hidden_ratio is None else self.hidden_ratio
        return 256 * math.ceil(int(self.hidden_size * ratio * 2 / 3) / 256)

    def check(self, where: str = "the configuration") -> "Config":
        """Raises `Failure` for what neither the original nor mmfree can run."""

        def require(holds: bool, what: str):
            if not holds:
                raise Failure(f"{where}: {what}")

        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_heads", "conv_size"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, f"{name} is {value}, must be a whole number from 1")
        require(self.mlp_size >= 1, f"intermediate_size is {self.mlp_size}, must be at least 1")
        require(self.state_size >= 1, f"expand_ratio is {self.expand_ratio}, and hidden_size times it must be at least 1")
        for name, size in (("hidden_size", self.hidden_size), ("hidden_size * expand_ratio", self.state_size)):
            require(size % self.num_heads == 0, f"{name} is {size}, which num_heads {self.num_heads} does not divide")
        wide = self.state_size != self.hidden_size and self.num_hidden_layers > 1
        require(
            not (self.use_lower_bound and wide),
            f"expand_ratio is {self.expand_ratio}, must be 1 with use_lower_bound and more than one layer: bounds have the width"
            " of hidden_size",
        )
        require(0 < self.rms_norm_eps < 1, f"rms_norm_eps is {self.rms_norm_eps}, must be above 0 and below 1")
        return self

    def to_json(self, dtype: str) -> str:
        """The text of `config.json`; `dtype` is the type of the stored weights."""
        keys = {**CONSTANT, **dataclasses.asdict(self), "torch_dtype": dtype}
        return json.dumps(keys, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_keys(keys: dict, where: str) -> "Config":
        """The configuration of the parsed `config.json`; absent keys take the original's defaults."""
        kind = keys.get("model_type")
        if kind != MODEL_TYPE:
            raise Failure(f'{where}: model_type is {json.dumps(kind)}, must be "{MODEL_TYPE}"')
        if keys.get("attn_mode") not in (None, "fused_recurrent"):
            raise Failure(f'{where}: attn_mode is {json.dumps(keys["attn_mode"])}, must be "fused_recurrent"')
        for key in FOREIGN:
            if keys.get(key):
                raise Failure(f"{where}: {key} is {json.dumps(keys[key])}, must be absent: it makes another model of it")
        known = {}
        for field in dataclasses.fields(Config):
            if field.name in keys:
                value = keys[field.name]
                # A null counts as absent where it has no meaning of its own.
                if value is None and field.name not in ("hidden_ratio", "intermediate_size", "bos_token_id", "eos_token_id"):
                    continue
                known[field.name] = value
        for name, value in known.items():
            kind = "a switch" if isinstance(getattr(Config, name), bool) else "a number"
            fits = value is None or isinstance(value, (bool, int, float)) or (name == "eos_token_id" and isinstance(value, list))
            if not fits:
                raise Failure(f"{where}: {name} is {json.dumps(value)}, must be {kind}")
        return Config(**known).check(where)

    @staticmethod
    def read(path: Path) -> "Config":
        """Reads a `config.json`."""
        try:
            keys = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise Failure(f"{path}: is no JSON: {error}") from None
        if not isinstance(keys, dict):
            raise Failure(f"{path}: must be a JSON object")
        return Config.from_keys(keys, str(path))
