/* What the parts of layout share: layout.c (newlines), bracket.c (pairs), slip.c (habits of other languages). Private to frontend/. */
#ifndef ATTAR_FRONTEND_LAYOUT_H
#define ATTAR_FRONTEND_LAYOUT_H

#include "frontend/syntax.h"

enum { FAR = 200 }; /* how many tokens a guess looks ahead */

typedef struct Open {
    Token token;
    size_t index;            /* in the tokens put out */
    int line_column;         /* of the line it stands on */
    int first, first_column; /* what its statement began with */
} Open;

typedef struct Layout {
    Parser *p;
    const Token *raw;
    size_t n_raw, at;
    Open open[MAX_BRACKETS];
    int n_open;
    Open suspect;        /* a `{` whose `}` stands further left: kind 0 if none */
    int first;           /* the token that began the statement; 0 at its beginning */
    int first_column;    /* of the line it begins on */
    bool braced;         /* it has had its braces */
    bool arrow;          /* it has had its `->` */
    int condition;       /* depth + 1 of the `if` or `assert` whose condition is being read; 0: none */
    int line_column;     /* column of the first token of this line */
    size_t sound_to;     /* raw tokens before this one were looked at by cut_broken_line */
    bool newline;        /* a newline came since the last token */
    bool extra_reported; /* on this line */
    bool colon_reported;
    bool brace_repaired; /* the next `{` belongs to the line above */
} Layout;

/* layout.c */
const Token *layout_last(const Layout *l); /* the last token put out, or NULL */
void layout_put_token(Layout *l, Token t);
void layout_put(Layout *l, int kind,
                bool reported); /* a token that is not written: it stands, empty, behind the last one */
void layout_end_statement(Layout *l, bool reported); /* puts `;` if there is something to end */
bool layout_in_braces(const Layout *l);              /* not inside ( or [ */
int layout_column(const Layout *l, const Token *t);  /* bytes before it on its line */
bool token_ends_statement(const Token *t);
bool token_needs_braces(int first); /* does a statement that begins so have a body? */

/* bracket.c */
void bracket_open(Layout *l, Token t);
void bracket_close(Layout *l, Token t);
void bracket_check(Layout *l, const Token *t); /* puts in what must have been forgotten if `t` stands here */
void bracket_finish(Layout *l);

/* slip.c */
bool slip_cut(Layout *l, const Token *t); /* true if `t` and what belongs to it was replaced */
bool slip_of_equals(Layout *l, Token *t);
void slip_of_else(Layout *l, Token *t);

#endif
