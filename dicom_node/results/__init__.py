"""Findings written as DICOM SEG and Structured Report, and read back before they are sent."""
