// A link that was opened by hand, from a terminal or a mail program, needs no further click.
document.querySelector("form[data-submit]")?.requestSubmit();
