"""A harness that kills processes at every moment of their work, and checks what is left on the disk.

A *door* (`door.Door`) is an operation that acknowledges something. A *moment* (`moments.Moment`) is when it is
disturbed, and how. `campaign` disturbs doors, checks them, and counts. `inputs` decodes mutated files.

Commands: ``python -m tests.faults --kills 5000 --seed 1`` and ``python -m tests.faults --inputs 1000000``.
"""
