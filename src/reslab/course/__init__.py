"""The course's exercises: tasks, files to start from, and checks that explain what is wrong."""
