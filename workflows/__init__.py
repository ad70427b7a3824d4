"""What decides and remembers; the only package that knows dicom_node and inference."""
