"""Jobs as the doors see them: submit, plan, follow, report, retry. Knows no route."""
