from proxycache.observe.request_meter import RequestClass, RequestMeter


def meter() -> RequestMeter:
    return RequestMeter(lambda: None)


def test_requests_of_one_class_are_counted_together():
    requests = meter()
    for size in (3, 4):
        requests.begin()
        requests.count("blob", "GET", 200, size, "hit")

    [(counted, tally)] = requests.take().items()

    assert counted == RequestClass("blob", "GET", 200, "hit")
    assert (tally.requests, tally.sent_bytes) == (2, 7)


def test_what_was_taken_is_not_taken_again():
    requests = meter()
    requests.begin()
    requests.count("blob", "GET", 200, 1, "hit")
    requests.take()

    assert requests.take() == {}


def test_a_request_is_in_flight_until_it_is_counted():
    requests = meter()

    requests.begin()
    requests.begin()
    requests.count("tag", "HEAD", 404, 0, "miss")

    assert requests.in_flight == 1


def test_methods_that_somebody_invents_make_no_new_classes():
    requests = meter()
    requests.count("other", "BREW", 405, 0, "")
    requests.count("other", "WHEN", 405, 0, "")

    assert [counted.method for counted in requests.take()] == ["other"]


def test_whoever_wants_to_know_is_told_of_each_change():
    changes: list[int] = []
    requests = RequestMeter(lambda: changes.append(1))

    requests.begin()
    requests.count("blob", "GET", 200, 1, "hit")

    assert len(changes) == 2
