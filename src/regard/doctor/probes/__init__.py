"""How known answers are measured: a module per kind of fact, with a function `measure(lens, fact)`."""
