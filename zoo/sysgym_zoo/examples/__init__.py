"""Scripts to copy, and `demo`, which is `sysgym demo`; README.md beside this file says what each shows and needs."""
