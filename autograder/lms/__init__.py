"""The worlds that instructors have: nbgrader, its gradebook, Gradescope."""
