"""The speckle denoiser: trained, measured and applied: `python -m training.denoise`."""
