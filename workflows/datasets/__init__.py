"""The data sets that need DICOM: a source of MedSeg-QA, and its command."""
