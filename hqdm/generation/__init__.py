"""Generation of images: in batches, on several devices, inpainting, interpolation."""
