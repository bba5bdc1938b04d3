"""Measurements of faultkit beside other ways of doing the same job; no part of the installed package."""
