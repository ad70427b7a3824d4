"""MedSeg-QA: image-mask pairs with multi-turn clinical conversations, built from images and knowledge."""
