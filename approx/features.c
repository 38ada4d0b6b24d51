/* Orthogonal random features and what Lemma 2 of the Performer says of their variance (arXiv 2009.14794). */
#include <math.h>
#include <string.h>

#include "approx/approx.h"

MatrixStatus features_from_gaussian(Arena *a, Matrix gaussian, Matrix lengths, Matrix *w)
{
    int64_t width = gaussian.cols, features = lengths.rows;
    if (width < 1 || features < 1 || lengths.cols != width || gaussian.rows % width || gaussian.rows < features)
        return MATRIX_SHAPE;
    *w = matrix_new(a, features, width);
    for (int64_t first = 0; first < features; first += width) {
        Matrix q, r;
        MatrixStatus status = matrix_qr(a, (Matrix){width, width, gaussian.at + first * width}, &q, &r);
        if (status)
            return status;
        for (int64_t i = first; i < features && i < first + width; i++) {
            double norm = matrix_norm((Matrix){1, width, lengths.at + i * width});
            for (int64_t j = 0; j < width; j++)
                w->at[i * width + j] = norm * q.at[j * width + i - first];
        }
    }
    return MATRIX_OK;
}

MatrixStatus features_orthogonal(Arena *a, Random *r, int64_t features, int64_t width, bool equal_lengths, Matrix *w)
{
    if (features < 1 || width < 1)
        return MATRIX_SHAPE;
    if (features > INT32_MAX / 16 / width)
        return MATRIX_TOO_LARGE;
    Matrix gaussian = matrix_new(a, (features + width - 1) / width * width, width), lengths = matrix_new(a, features, width);
    for (int64_t i = 0; i < gaussian.rows * width; i++)
        gaussian.at[i] = random_normal(r);
    for (int64_t i = 0; i < features * width; i++)
        lengths.at[i] = equal_lengths ? 1 : random_normal(r); /* sqrt(width) is the norm of a row of ones */
    return features_from_gaussian(a, gaussian, lengths, w);
}

double features_variance(FeatureKind kind, double z, int64_t rows)
{
    double positive = expm1(z) / (double)rows;
    return kind == FEATURES_HYPERBOLIC ? -0.5 * expm1(-z) * positive : positive;
}
