"""Evaluation as a user asks: 150 questions about real images, and whether an answer helps, or does harm.

images.yaml, questions.yaml   the images, what is true of them, and the questions; frozen by `questions.DIGEST`
questions.py                  their types, and how they are read
scoring.py                    right, unhelpful, wrong or dangerous: the rules
run.py                        asks a predictor, image by image
report.py                     table, JSON, and a picture of each dangerous answer

before.json, before.md        what the weights 0.6 reached, before the gate and the understanding of questions

Images come as arrays from a `Loader`: who reads DICOM is outside (`workflows/datasets/clinic.py`).
"""
