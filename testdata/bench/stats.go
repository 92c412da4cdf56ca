package main

import (
	"math"
	"slices"
	"time"
)

// rates lists the series' rates.
func (s series) rates() []float64 {
	out := make([]float64, len(s))
	for i, r := range s {
		out[i] = r.rate
	}
	return out
}

// lowest is the lowest value of one kind of CPU over the rounds: the least
// disturbed one.
func (s series) lowest(kind func(reading) time.Duration) time.Duration {
	least := time.Duration(math.MaxInt64)
	for _, r := range s {
		least = min(least, kind(r))
	}
	return least
}

func proxyCPU(r reading) time.Duration { return r.proxyCPU }
func allCPU(r reading) time.Duration   { return r.allCPU }

// best is the mean of the best quarter (at least one) of values, where more is better.
func best(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	slices.Reverse(sorted)
	return mean(sorted[:max(1, len(sorted)/4)])
}

// least is the mean of the lowest quarter, where less is better.
func least(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return mean(sorted[:max(1, len(sorted)/4)])
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// ratio compares two series: best quarter to best quarter, and the median of
// the per-round ratios.
func ratio(a, b series) (bestRatio, median float64) {
	x, y := a.rates(), b.rates()
	per := make([]float64, min(len(x), len(y)))
	for i := range per {
		per[i] = x[i] / y[i]
	}
	slices.Sort(per)
	middle := per[len(per)/2]
	if len(per)%2 == 0 {
		middle = (middle + per[len(per)/2-1]) / 2
	}
	return best(x) / best(y), middle
}
