// What: the compute questions of the comparison (../questions.py) in Go, GOMAXPROCS = workers; called and
// answering as ../support.hpp says. Goroutines have no results: what joins them is a WaitGroup or the channel
// they send to. Not asked: W11 (a goroutine that blocks needs no pool).
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// answer as in ../support.hpp.
type answer struct {
	value, cpu float64
	check      int64
	extra      string
}

type stopwatch struct {
	start time.Time
	cpu   time.Duration
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
func start() stopwatch { return stopwatch{time.Now(), cpuTime()} }
func (watch stopwatch) spent() (wall, cpu time.Duration) {
	return time.Since(watch.start), cpuTime() - watch.cpu
}
func (watch stopwatch) perUnit(units float64, check int64) answer {
	wall, cpu := watch.spent()
	return answer{float64(wall) / units, float64(cpu) / units, check, ""}
}
func (watch stopwatch) inMs(check int64) answer { return watch.perUnit(1e6, check) }

func pair(name string, value float64) string { return fmt.Sprintf(", %q: %f", name, value) }

func spawnAndJoin(rounds int) answer { // W1
	const tasks = 100
	var group sync.WaitGroup
	var joined int64
	watch := start()
	for round := 0; round < rounds; round++ {
		group.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() { group.Done() }()
		}
		group.Wait()
		joined += tasks
	}
	return watch.perUnit(float64(rounds)*tasks, joined)
}

func yields(count, each int) answer {
	var group sync.WaitGroup
	var total int64
	group.Add(count)
	watch := start()
	for i := 0; i < count; i++ {
		go func() {
			done := 0
			for ; done < each; done++ {
				runtime.Gosched()
			}
			atomic.AddInt64(&total, int64(done))
			group.Done()
		}()
	}
	group.Wait()
	return watch.perUnit(float64(count)*float64(each), total)
}
func yieldMany(each int) answer { return yields(1000, each) } // W2
func yieldTwo(each int) answer  { return yields(2, each) }    // W2b

func pingPong(trips int) answer { // W3
	there := make(chan int, 1)
	back := make(chan int, 1)
	go func() {
		for i := 0; i < trips; i++ {
			back <- <-there
		}
	}()
	var sum int64
	watch := start()
	for i := 0; i < trips; i++ {
		there <- i
		sum += int64(<-back)
	}
	return watch.perUnit(float64(trips), sum)
}

func skynetNode(result chan<- int64, base, leaves int64) {
	const fanOut = 10
	if leaves == 1 {
		result <- base
		return
	}
	parts := make(chan int64, fanOut)
	share := leaves / fanOut
	for i := int64(0); i < fanOut; i++ {
		go skynetNode(parts, base+i*share, share)
	}
	var sum int64
	for i := 0; i < fanOut; i++ {
		sum += <-parts
	}
	result <- sum
}
func skynet(leaves int) answer { // W4
	result := make(chan int64, 1)
	watch := start()
	go skynetNode(result, 0, int64(leaves))
	return watch.inMs(<-result)
}

func sleepMany(count int) answer { // W5
	var group sync.WaitGroup
	var woken int64
	group.Add(count)
	watch := start()
	for i := 0; i < count; i++ {
		go func(i int) {
			time.Sleep(time.Duration(1+i*7919%1000) * time.Millisecond)
			atomic.AddInt64(&woken, 1)
			group.Done()
		}(i)
	}
	group.Wait()
	wall, cpu := watch.spent()
	return answer{cpu.Seconds(), cpu.Seconds(), woken, pair("wall_s", wall.Seconds())}
}

func overshoot(sleeps int) answer { // W6
	late := make([]float64, 0, sleeps)
	watch := start()
	for i := 0; i < sleeps; i++ {
		before := time.Now()
		time.Sleep(time.Millisecond)
		late = append(late, float64(time.Since(before)-time.Millisecond)/1e3)
	}
	_, cpu := watch.spent()
	sort.Float64s(late)
	return answer{late[sleeps/2], float64(cpu) / 1e3 / float64(sleeps), int64(sleeps),
		pair("p99", late[sleeps*99/100]) + pair("early", float64(sort.SearchFloat64s(late, 0)))}
}

// Resident and page-table bytes of this process.
func memory() (resident, pageTables float64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			switch fields[0] {
			case "VmRSS:":
				resident = kib * 1024
			case "VmPTE:":
				pageTables = kib * 1024
			}
		}
	}
	return resident, pageTables
}

func parkedMemory(count int) answer { // W7
	event := make(chan struct{})
	var parked, woken int64
	var group sync.WaitGroup
	group.Add(count)
	resident, pageTables := memory()
	for i := 0; i < count; i++ {
		go func() {
			atomic.AddInt64(&parked, 1)
			<-event
			atomic.AddInt64(&woken, 1)
			group.Done()
		}()
	}
	for atomic.LoadInt64(&parked) < int64(count) {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	residentAfter, pageTablesAfter := memory()
	close(event)
	group.Wait()
	units := float64(count)
	return answer{(residentAfter - resident) / units, 0, woken,
		pair("page_tables", (pageTablesAfter-pageTables)/units)}
}

func fib(n int64) int64 {
	if n < 2 {
		return n
	}
	child := make(chan int64, 1)
	go func() { child <- fib(n - 1) }()
	other := fib(n - 2)
	return <-child + other
}
func forkJoin(n int) answer { // W10
	watch := start()
	return watch.inMs(fib(int64(n)))
}

func manyToMany(items int) answer { // W12
	const tasks = 4
	queue := make(chan int, 1024)
	sums := make(chan int64, tasks)
	each := items / tasks
	watch := start()
	for t := 0; t < tasks; t++ {
		go func() {
			for i := 0; i < each; i++ {
				queue <- i
			}
		}()
		go func() {
			var sum int64
			for i := 0; i < each; i++ {
				sum += int64(<-queue)
			}
			sums <- sum
		}()
	}
	var total int64
	for t := 0; t < tasks; t++ {
		total += <-sums
	}
	return watch.perUnit(float64(each*tasks), total)
}

func cancelMany(count int) answer { // W13: each goroutine with a context of its own
	cancels := make([]context.CancelFunc, count)
	var group sync.WaitGroup
	var asleep, cancelled int64
	group.Add(count)
	for i := range cancels {
		ctx, cancel := context.WithCancel(context.Background())
		cancels[i] = cancel
		go func() {
			defer group.Done()
			timer := time.NewTimer(time.Hour)
			defer timer.Stop()
			atomic.AddInt64(&asleep, 1)
			select {
			case <-ctx.Done():
				atomic.AddInt64(&cancelled, 1)
			case <-timer.C:
			}
		}()
	}
	for atomic.LoadInt64(&asleep) < int64(count) {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	watch := start()
	for _, cancel := range cancels {
		cancel()
	}
	group.Wait()
	return watch.perUnit(float64(count), cancelled)
}

func lockShared(each int) answer { // W14
	const tasks = 8
	var lock sync.Mutex
	var counter int64
	var group sync.WaitGroup
	group.Add(tasks)
	watch := start()
	for t := 0; t < tasks; t++ {
		go func() {
			for i := 0; i < each; i++ {
				lock.Lock()
				counter++
				lock.Unlock()
			}
			group.Done()
		}()
	}
	group.Wait()
	return watch.perUnit(float64(each)*tasks, counter)
}

func main() {
	questions := map[string]func(int) answer{
		"W1": spawnAndJoin, "W2": yieldMany, "W2b": yieldTwo, "W3": pingPong, "W4": skynet, "W5": sleepMany,
		"W6": overshoot, "W7": parkedMemory, "W10": forkJoin, "W12": manyToMany, "W13": cancelMany,
		"W14": lockShared,
	}
	if len(os.Args) != 5 || os.Args[3] != "--workers" || questions[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: go_peer QUESTION SIZE --workers N")
		os.Exit(2)
	}
	size, sizeError := strconv.Atoi(os.Args[2])
	workers, workersError := strconv.Atoi(os.Args[4])
	if sizeError != nil || workersError != nil || size <= 0 || workers <= 0 {
		fmt.Fprintln(os.Stderr, "go_peer: SIZE and N are positive numbers")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(workers)
	got := questions[os.Args[1]](size)
	fmt.Printf("{\"question\": %q, \"workers\": %d, \"value\": %.4f, \"cpu\": %.4f, \"check\": %d%s}\n",
		os.Args[1], workers, got.value, got.cpu, got.check, got.extra)
}
