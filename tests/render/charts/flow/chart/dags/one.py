import os

print("{{ not }}")
