"""Thirteen defects of amazon.aws and community.aws, and for each the tests that show this collection free of it."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
WAF, WAF_PLAN = "integration/test_waf_web_acl.py", "unit/plugins/module_utils/test_waf_plan.py"
ROUTE53, IAM = "integration/test_route53.py", "integration/test_iam_service_roles.py"
INVENTORY = "unit/plugins/inventory/test_instances.py"
DEFECTS = {
    "kept rules and described ones end up with one priority": [
        (WAF, "test_what_was_changed_by_hand_is_shown_and_kept_or_replaced"),
        (WAF_PLAN, "test_a_kept_rule_does_not_take_a_described_priority"),
    ],
    "a change of visibility or response bodies alone is not seen": [(WAF_PLAN, "test_settings_alone_are_a_change")],
    "two rules of one priority are sent to AWS": [(WAF, "test_bad_input_is_refused_before_the_first_call")],
    "associating with a web ACL or resource that does not exist is no error": [
        (WAF, "test_what_only_the_account_knows_is_refused_before_the_first_write")
    ],
    "WAF modules show no diff": [(WAF, "test_the_diff_shows_the_edit_alone")],
    "nested statements crash the second run or always change": [
        (WAF, "test_another_order_of_the_same_is_unchanged"),
        (WAF_PLAN, "test_plan_applied_is_what_was_wanted_in_any_order"),
    ],
    "lists of WAF never go on after the first page": [(WAF, "test_many_sets_are_listed_to_the_last_page")],
    "an update drops captcha, challenge, token and association settings": [
        (WAF, "test_what_was_changed_by_hand_is_shown_and_kept_or_replaced"),
        (WAF, "test_what_is_described_is_put_back"),
    ],
    "values in another order are a change, an error of the API is none": [
        (ROUTE53, "test_order_of_values_and_quoting_are_no_change_and_an_error_stays_an_error")
    ],
    "metric math and dimensions in another order always change": [
        ("integration/test_cloudwatch.py", "test_metric_math_and_the_order_of_dimensions_are_no_change")
    ],
    "waiting is inverted": [
        (IAM, "test_it_waits_until_iam_shows_the_change"),
        (IAM, "test_without_waiting_nothing_is_read_again"),
    ],
    "a trust policy over its size is sent, the case of an action is a change": [
        (IAM, "test_bad_input_is_refused_before_any_write"),
        (IAM, "test_what_means_the_same_is_not_written"),
    ],
    "a valid cache is not used, an outage is an empty inventory": [
        (INVENTORY, "test_a_warm_run_asks_nothing_and_gives_the_same"),
        (INVENTORY, "test_a_region_that_fails_is_an_error"),
        (INVENTORY, "test_a_region_that_fails_is_served_from_its_last_answer"),
    ],
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_has_its_tests(defect):
    missing = [name for path, name in DEFECTS[defect] if f"def {name}(" not in (TESTS / path).read_text()]
    assert not missing, f"{defect}: {missing}"


def test_all_thirteen_are_here():
    assert len(DEFECTS) == 13
