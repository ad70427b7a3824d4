"""What speaks DICOM: receiving, storing, volumes, result objects. Knows no model, no queue, no database."""
