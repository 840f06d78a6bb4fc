"""Training of MatMul-free language models (HGRN-Bit) in plain PyTorch, for the runtime mmfree."""

__version__ = "0.1.0"
