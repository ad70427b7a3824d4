"""The model: arrays in, arrays out. Knows no DICOM."""
