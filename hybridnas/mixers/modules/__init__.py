"""What the mixers build: torch's modules, imported when a mixer builds one
(hybridnas.layers.modules says why)."""
