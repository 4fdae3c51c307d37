"""The page of documentation that is written from the routes and the listed differences."""

from tests.contract.parity.compatibility import OTHERS, PAGE, page, routes, served


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: make compatibility"


def test_nothing_is_served_that_the_page_counts_as_not_served() -> None:
    assert [route for route in routes() if route.part == OTHERS and served(route)] == []
