/* Diagnostics as text. */
#include "support/diag.h"

void diag_render(const Diags *d, Text *out, bool colour) {
    (void)colour;
    for (const Diag *diag = d->first; diag; diag = diag->next) {
        LineColumn at = span_start(diag->at);
        text_add(out, "%s[%s]: %s\n", diag->level == DIAG_ERROR ? "error" : "warning", diag->code, diag->message);
        if (diag->at.source)
            text_add(out, "  --> %s:%d:%d\n", diag->at.source->path, at.line, at.column);
        else if (diag->file)
            text_add(out, "  --> %s%s%s\n", diag->file, diag->where ? ": " : "", diag->where ? diag->where : "");
        for (const DiagPart *part = diag->parts; part; part = part->next)
            text_add(out, "   = %s: %s\n", part->kind == DIAG_HELP ? "help" : "note", part->text);
    }
}

void diag_render_json(const Diags *d, Text *out) { diag_render(d, out, false); }
