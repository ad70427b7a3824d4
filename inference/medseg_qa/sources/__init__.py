"""Sources of images and masks: an adapter for each way of keeping them."""
