/* Sampling, and the numbers drawn from a seed. */
#include <check.h>
#include <math.h>

#include "driver/sample.h"
#include "driver/signature.h"

START_TEST(greedy_takes_the_first_of_equals)
{
    Sampler s = {0};
    const float logits[] = {-1, 3, 2, 3};
    ck_assert_int_eq(sample_token(&s, logits, 4), 1);
    const float low[] = {-INFINITY, -INFINITY};
    ck_assert_int_eq(sample_token(&s, low, 2), 0);
}
END_TEST

/* The shares of 20,000 draws are those of the softmax within five standard deviations. */
START_TEST(draws_follow_the_softmax)
{
    const float logits[] = {0, 1, 2, -3};
    double work[8], weights[4], sum = 0;
    int counts[4] = {0}, draws = 20000;
    Sampler s = {.temperature = 0.7, .seed = 5, .work = work};
    for (int i = 0; i < 4; i++)
        sum += weights[i] = exp((double)logits[i] / 0.7);
    for (int i = 0; i < draws; i++)
        counts[sample_token(&s, logits, 4)]++;
    for (int i = 0; i < 4; i++) {
        double p = weights[i] / sum;
        ck_assert_double_le(fabs(counts[i] - p * draws), 5 * sqrt(draws * p * (1 - p)) + 1);
    }
}
END_TEST

START_TEST(top_k_draws_no_other)
{
    const float logits[] = {0, 5, 4.9f, 4.8f, 1};
    double work[10];
    int counts[5] = {0};
    Sampler s = {.temperature = 2, .top_k = 2, .seed = 1, .work = work};
    for (int i = 0; i < 1000; i++)
        counts[sample_token(&s, logits, 5)]++;
    ck_assert_int_eq(counts[0] + counts[3] + counts[4], 0);
    ck_assert_int_gt(counts[1], 300);
    ck_assert_int_gt(counts[2], 300);
    s.top_k = 99;
    for (int i = 0; i < 1000; i++)
        counts[sample_token(&s, logits, 5)]++;
    ck_assert_int_gt(counts[3], 0);
}
END_TEST

START_TEST(same_seed_same_numbers)
{
    uint64_t a = 7, b = 7, c = 8;
    ck_assert_uint_eq(random_next(&a), random_next(&b));
    ck_assert_uint_ne(random_next(&a), random_next(&c));
    for (int i = 0; i < 1000; i++) {
        double u = random_unit(&a);
        ck_assert(u >= 0 && u < 1);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *t = tcase_create("sample");
    tcase_add_test(t, greedy_takes_the_first_of_equals);
    tcase_add_test(t, draws_follow_the_softmax);
    tcase_add_test(t, top_k_draws_no_other);
    tcase_add_test(t, same_seed_same_numbers);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
