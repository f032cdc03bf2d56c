"""One offline HTML page about runs, and its figures.

source    runs as they were kept, or as `emu run --json` printed them
extract   what of a document goes into a table or figure
events    figures of the recorded events: who interrupted whom, who held a lock when
draw      figures, as SVG or PNG, by matplotlib
page      the page, by jinja2, from page.html.j2
"""
