"""Forward process, objective and denoiser: what a network predicts, and how it is trained to."""
