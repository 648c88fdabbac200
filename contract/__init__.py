"""The contract of backends as a test suite: `vfolder contract NAME` runs it on a volume of a site.

It is installed with the package, so that authors of backends need no checkout. In the checkout,
`tests/contract` runs it on every backend of this project.
"""
