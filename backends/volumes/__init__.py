"""The volumes of this node: which backend, is it mounted, what may be asked. Knows no HTTP."""
