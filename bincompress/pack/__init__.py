"""Program <-> bytes: the packed GGUF file, written deterministically and read strictly (see kernels/FORMAT.md)."""
