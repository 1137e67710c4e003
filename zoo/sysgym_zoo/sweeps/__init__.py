"""Many runs: what a file asks for, where they run, and the table at the end."""
