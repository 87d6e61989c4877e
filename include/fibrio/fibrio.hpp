// The core of fibrio: asyncio for C++ on every core.
#pragma once

#include "fibrio/awaitables.hpp"
#include "fibrio/clock.hpp"
#include "fibrio/config.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/introspection.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/queues.hpp"
#include "fibrio/runner.hpp"
#include "fibrio/sockets.hpp"
#include "fibrio/task_groups.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/threads.hpp"
#include "fibrio/timeouts.hpp"
#include "fibrio/waiting.hpp"
