"""Makes this repository an nbgrader course: `nbgrader` and formgrader, started here, read it.

What is built lies in build/; the class's own records, which `make clean` leaves, in class/.
"""

from pathlib import Path

from autograder.lms.nbgrader import configure

here = Path(__file__).resolve().parent
c = get_config()  # noqa: F821 - given by nbgrader

c.CourseDirectory.course_id = "fine_tuning_interviews"
c.CourseDirectory.root = str(here)
c.CourseDirectory.source_directory = "build/source"
c.CourseDirectory.release_directory = "build/release"
c.CourseDirectory.submitted_directory = "class/submitted"
c.CourseDirectory.autograded_directory = "class/autograded"
c.CourseDirectory.feedback_directory = "class/feedback"
c.CourseDirectory.solution_directory = "build/solution"
c.CourseDirectory.db_url = f"sqlite:///{here}/class/gradebook.db"
(here / "class").mkdir(exist_ok=True)

# Grades in our sandbox, and shows nothing of a stranger's unescaped. In a course of your own, these
# two lines are all that it takes:
#   from autograder.lms.nbgrader import configure
#   configure(get_config())
configure(c)
