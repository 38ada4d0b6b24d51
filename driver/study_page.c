/* A study as one HTML page that needs nothing else: no scripts, no fonts, no pictures from elsewhere. Charts are inline SVG. */
#include <math.h>
#include <string.h>

#include "driver/study.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Study of attention</title>\n<style>\n"
    ":root { color-scheme: light dark; --ink: #1a1a1a; --faint: #8a8a8a; --line: #d8d8d8; --paper: #fff; --performer: #1f5fbf; --vq: #c05a00; }\n"
    "@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --faint: #9a9a9a; --line: #444; --paper: #161616; --performer: #7fb0ff; --vq: #ffa45c; } }\n"
    "body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }\n"
    "h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }\n"
    "th:first-child, td:first-child { text-align: left; } td.chosen { font-weight: bold; outline: 1px solid currentColor; }\n"
    ".wide { overflow-x: auto; } .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }\n"
    "svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 11px; } svg .faint { fill: var(--faint); }\n"
    "svg .grid { stroke: var(--line); } svg .limit { stroke: var(--faint); stroke-dasharray: 4 3; }\n"
    ".performer { stroke: var(--performer); } .vq { stroke: var(--vq); } polyline { fill: none; stroke-width: 1.2; opacity: .6; } circle { stroke-width: 1.5; fill: var(--paper); }\n"
    "pre { background: color-mix(in srgb, var(--ink) 7%, transparent); padding: .8rem; overflow-x: auto; } p.note { color: var(--faint); }\n"
    "b.performer { color: var(--performer); } b.vq { color: var(--vq); }\n"
    "</style>\n</head>\n<body>\n";

static void escape(Text *out, const char *text)
{
    for (; *text; text++)
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            text_add(out, "&#%d;", *text);
        else
            text_char(out, *text);
}

static void figure(Text *out, double x)
{
    if (isinf(x) || x >= 1e4)
        text_add(out, isinf(x) ? "&infin;" : "%.0e", x);
    else
        text_add(out, x < 0.0995 ? "%.3f" : x < 9.95 ? "%.2f" : "%.0f", x);
}

static const char *kind(const StudySetting *set) { return set->codes ? "vq" : "performer"; }

/* ---- charts ---------------------------------------------------------------------------------------------------------------------- */

typedef struct Axis2 { double low, high; int from, to; } Axis2; /* logarithms to base 10, and where they lie in the drawing */

static double at(const Axis2 *x, double value)
{
    double l = value > 0 ? log10(value) : x->low;
    l = fmin(fmax(l, x->low), x->high);
    return x->from + (l - x->low) / (x->high - x->low) * (x->to - x->from);
}

enum { WIDTH = 340, HEIGHT = 250, LEFT = 44, RIGHT = 328, TOP = 26, BOTTOM = 212 };

static void frame(Text *out, const Axis2 *x, const Axis2 *y, const char *title, const char *x_name, const char *y_name)
{
    text_add(out, "<figure style=\"margin:0\"><svg viewBox=\"0 0 %d %d\" role=\"img\">\n<text x=\"%d\" y=\"14\" font-weight=\"bold\">", WIDTH, HEIGHT, LEFT);
    escape(out, title);
    text_add(out, "</text>\n");
    static const double marks[] = {1, 2, 5};
    for (int axis = 0; axis < 2; axis++) {
        const Axis2 *a = axis ? y : x;
        for (int e = (int)floor(a->low); e <= (int)ceil(a->high); e++)
            for (int m = 0; m < 3; m++) {
                double value = marks[m] * pow(10, e), where = at(a, value);
                if (log10(value) < a->low - 1e-9 || log10(value) > a->high + 1e-9 || (m && a->high - a->low > 2.2))
                    continue;
                if (axis)
                    text_add(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"faint\" x=\"%d\" y=\"%.1f\" "
                                  "text-anchor=\"end\">%g</text>\n", LEFT, RIGHT, where, where, LEFT - 5, where + 4, value);
                else
                    text_add(out, "<line class=\"grid\" y1=\"%d\" y2=\"%d\" x1=\"%.1f\" x2=\"%.1f\"/><text class=\"faint\" x=\"%.1f\" y=\"%d\" "
                                  "text-anchor=\"middle\">%g</text>\n", TOP, BOTTOM, where, where, where, BOTTOM + 14, value);
            }
    }
    text_add(out, "<text class=\"faint\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + RIGHT) / 2, BOTTOM + 31, x_name);
    text_add(out, "<text class=\"faint\" x=\"10\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 10 %d)\">%s</text>\n", (TOP + BOTTOM) / 2,
             (TOP + BOTTOM) / 2, y_name);
}

static void circle(Text *out, const char *class, double x, double y)
{
    text_add(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"><title>", class, x, y);
}

static void chart(const Study *s, const StudyLayer *l, const Axis2 *x, const Axis2 *y, Text *out)
{
    Arena *a = s->cx->arena;
    frame(out, x, y, arena_print(a, "layer %lld: %s", (long long)l->number, l->where),
          arena_print(a, "speed-up at %lld positions, by operations", (long long)s->length), "error of the output");
    text_add(out, "<line class=\"limit\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, RIGHT, at(y, s->max_err), at(y, s->max_err));
    text_add(out, "<line class=\"limit\" y1=\"%d\" y2=\"%d\" x1=\"%.1f\" x2=\"%.1f\"/>\n", TOP, BOTTOM, at(x, 1), at(x, 1));
    for (int64_t h = 0; h < l->heads; h++) {
        for (int codes = 0; codes < 2; codes++) {
            text_add(out, "<polyline class=\"%s\" points=\"", codes ? "vq" : "performer");
            for (int k = 0; k < s->n_settings; k++)
                if (s->settings[k].codes == (bool)codes)
                    text_add(out, "%.1f,%.1f ", at(x, study_speed(l, &s->settings[k], s->length)), at(y, l->head[h].of[k].measured));
            text_add(out, "\"/>\n");
        }
        for (int k = 0; k < s->n_settings; k++) {
            circle(out, kind(&s->settings[k]), at(x, study_speed(l, &s->settings[k], s->length)), at(y, l->head[h].of[k].measured));
            text_add(out, "head %lld, %s: error ", (long long)h, s->settings[k].request);
            figure(out, l->head[h].of[k].measured);
            text_add(out, ", total variation ");
            figure(out, l->head[h].of[k].variation);
            text_add(out, ", speed-up ");
            figure(out, study_speed(l, &s->settings[k], s->length));
            text_add(out, "</title></circle>\n");
        }
    }
    text_add(out, "</svg></figure>\n");
}

static void widen(Axis2 *a, double value, double least, double most)
{
    double l = log10(fmin(fmax(value, least), most));
    a->low = fmin(a->low, l - 0.08);
    a->high = fmax(a->high, l + 0.08);
}

static void charts(const Study *s, Text *out)
{
    Axis2 x = {0, 0, LEFT, RIGHT}, y = {log10(s->max_err), log10(s->max_err), BOTTOM, TOP};
    widen(&x, 1, 1e-3, 1e3);
    for (size_t i = 0; i < s->n_layers; i++)
        for (int k = 0; k < s->n_settings && !s->layers[i].refused; k++) {
            widen(&x, study_speed(&s->layers[i], &s->settings[k], s->length), 1e-3, 1e3);
            for (int64_t h = 0; h < s->layers[i].heads; h++)
                widen(&y, s->layers[i].head[h].of[k].measured, 1e-3, 10);
        }
    text_add(out, "<h2>Error against speed-up</h2>\n<p>One line a head of the keys: <b class=\"performer\">performer</b> by features, <b class=\"vq\">vq</b> by "
                  "codes. Good is low and to the right; dashed are the bound %g on the error and the speed of exact attention. Errors beyond 10 are drawn "
                  "at 10.</p>\n<div class=\"charts\">\n", s->max_err);
    for (size_t i = 0; i < s->n_layers; i++)
        if (!s->layers[i].refused)
            chart(s, &s->layers[i], &x, &y, out);
    text_add(out, "</div>\n");
}

static void scatter(const Study *s, Text *out)
{
    Axis2 x = {-2, 2, LEFT, RIGHT}, y = {-2, 1, BOTTOM, TOP};
    text_add(out, "<h2>What Lemma 2 predicts, and what was measured</h2>\n<p>Each point is a head and a number of features. On the line both agree; far to "
                  "the right of 1 the prediction only says that the head cannot be approximated; beyond 100 it is drawn at 100.</p>\n<div class=\"charts\">\n");
    frame(out, &x, &y, "all layers", "predicted error of one weight", "measured error of the output");
    text_add(out, "<line class=\"limit\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", at(&x, 0.01), at(&y, 0.01), at(&x, 10), at(&y, 10));
    for (size_t i = 0; i < s->n_layers; i++)
        for (int64_t h = 0; h < s->layers[i].heads && !s->layers[i].refused; h++)
            for (int k = 0; k < s->n_settings; k++) {
                const HeadError *e = &s->layers[i].head[h].of[k];
                if (s->settings[k].codes)
                    continue;
                circle(out, "performer", at(&x, e->predicted), at(&y, e->measured));
                text_add(out, "layer %lld, head %lld, %lld features: predicted ", (long long)s->layers[i].number, (long long)h,
                         (long long)s->settings[k].size);
                figure(out, e->predicted);
                text_add(out, ", measured ");
                figure(out, e->measured);
                text_add(out, "</title></circle>\n");
            }
    text_add(out, "</svg></figure></div>\n");
}

/* ---- tables ---------------------------------------------------------------------------------------------------------------------- */

static void heading(const Study *s, Text *out, const char *first)
{
    text_add(out, "<div class=\"wide\"><table>\n<tr><th>%s</th>", first);
    for (int k = 0; k < s->n_settings; k++)
        text_add(out, "<th><b class=\"%s\">%s</b> %lld</th>", kind(&s->settings[k]), kind(&s->settings[k]), (long long)s->settings[k].size);
    text_add(out, "</tr>\n");
}

static void errors(Study *s, Text *out)
{
    text_add(out, "<h2>Error of the output</h2>\n<p>The median head of a layer / its worst one; the mean of the values, which any weights hand on, is taken "
                  "off. |x| and |y| are the norms of queries and keys times the root of the scale.</p>\n");
    heading(s, out, "layer, |x|, |y|");
    for (size_t i = 0; i < s->n_layers; i++) {
        const StudyLayer *l = &s->layers[i];
        text_add(out, "<tr><td>%lld", (long long)l->number);
        if (l->refused) {
            text_add(out, l->last > l->number ? "-%lld" : "", (long long)l->last);
            text_add(out, "</td><td colspan=\"%d\" style=\"text-align:left\">stays exact: ", s->n_settings);
            escape(out, l->refused);
            text_add(out, "</td></tr>\n");
            continue;
        }
        double x = 0, y = 0;
        for (int64_t h = 0; h < l->heads; h++) {
            x += l->head[h].of[0].query_norm / (double)l->heads;
            y += l->head[h].of[0].key_norm / (double)l->heads;
        }
        text_add(out, ", ");
        figure(out, x);
        text_add(out, ", ");
        figure(out, y);
        text_add(out, "</td>");
        for (int k = 0; k < s->n_settings; k++) {
            text_add(out, "<td%s>", l->choice == k ? " class=\"chosen\"" : "");
            figure(out, study_median(s, l, k));
            text_add(out, " / ");
            figure(out, study_worst(s, l, k));
            text_add(out, "</td>");
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table></div>\n");
}

static void texts(const Study *s, Text *out)
{
    if (!s->n_texts)
        return;
    text_add(out, "<h2>Bits per %s of the calibration text</h2>\n<p>With these layers approximated; exact: %.3f.</p>\n", s->unit, s->exact_bits);
    heading(s, out, "layers");
    for (size_t i = 0; i < s->n_texts; i++) {
        text_add(out, "<tr><td>%s</td>", s->texts[i].layers);
        for (int k = 0; k < s->n_settings; k++) {
            if (isnan(s->texts[i].bits[k]))
                text_add(out, "<td></td>");
            else
                text_add(out, "<td>%.3f</td>", s->texts[i].bits[k]);
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table></div>\n");
}

static void costs(const Study *s, Text *out)
{
    const StudyLayer *shown = NULL;
    for (size_t i = 0; i < s->n_layers; i++) {
        const StudyLayer *l = &s->layers[i];
        if (l->refused || (shown && shown->shape.width == l->shape.width && shown->shape.values == l->shape.values && shown->shape.causal == l->shape.causal))
            continue;
        shown = l;
        text_add(out, "<h2>Cost of a head of width %lld, %s</h2>\n", (long long)l->shape.width, l->shape.causal ? "causal" : "not causal");
        heading(s, out, "by operations");
        for (int64_t length = s->length; length <= 16 * s->length; length *= 4) {
            text_add(out, "<tr><td>speed-up at %lld</td>", (long long)length);
            for (int k = 0; k < s->n_settings; k++) {
                text_add(out, "<td>");
                figure(out, study_speed(l, &s->settings[k], length));
                text_add(out, "</td>");
            }
            text_add(out, "</tr>\n");
        }
        text_add(out, "<tr><td>pays from</td>");
        for (int k = 0; k < s->n_settings; k++) {
            int64_t pays = study_pays(l, &s->settings[k]);
            text_add(out, pays ? "<td>%lld</td>" : "<td>never</td>", (long long)pays);
        }
        text_add(out, "</tr>\n</table></div>\n");
    }
}

static void recommendation(Study *s, Text *out)
{
    const char **requests;
    int n = study_requests(s, &requests);
    text_add(out, "<h2>Recommended</h2>\n");
    if (!n) {
        text_add(out, "<p>Leave attention exact: no setting keeps the worst head of a layer within %g and saves operations at %lld positions.</p>\n",
                 s->max_err, (long long)s->length);
        return;
    }
    text_add(out, "<p>What saves most at %lld positions with the worst head of a layer within %g:</p>\n<pre>", (long long)s->length, s->max_err);
    for (int i = 0; i < n; i++)
        text_add(out, "--linearize %s\n", requests[i]);
    text_add(out, "</pre>\n");
    if (!isnan(s->recommended_bits))
        text_add(out, "<p>%.3f bits per %s with it, %.3f exact.</p>\n", s->recommended_bits, s->unit, s->exact_bits);
    const char *annotation = study_annotation(s);
    if (annotation)
        text_add(out, "<p>or, in the model file, in the line before the attention:</p>\n<pre>%s</pre>\n", annotation);
}

void study_page(Study *s, Text *out)
{
    text_add(out, "%s<h1>Attention of ", head);
    escape(out, s->model);
    text_add(out, ", approximated</h1>\n<p>Measured on ");
    escape(out, s->measured_on);
    text_add(out, " against exact attention, in float64.</p>\n");
    recommendation(s, out);
    charts(s, out);
    errors(s, out);
    texts(s, out);
    costs(s, out);
    scatter(s, out);
    text_add(out, "</body>\n</html>\n");
}
