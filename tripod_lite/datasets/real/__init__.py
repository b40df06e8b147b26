"""The published benchmarks: downloaded, checked, prepared once as a memory map, and fed from there."""
