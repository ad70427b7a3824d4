"""medseg-r conform: does a model keep what `inference.interface` promises? A table of rows, each with its reason.

phantom    a synthetic abdomen whose organs are known, or a real image with its masks, and ways to turn it
rows       what is checked
suite      runs the rows, each call within a time, and makes the table
"""
