"""The papers: a module for each, named like its slug with underscores, which declares a `CARD`.

A paper is listed by being here and nowhere else; any of these modules can be deleted. What cards are made of and how their
claims are judged is in `regard.papers.cards`; what methods of several papers are compared on, in `regard.papers.boards`.
"""
