"""The ablation runner: its plan, its jobs and the engines they run on."""
