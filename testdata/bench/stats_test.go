package main

import (
	"testing"
	"time"
)

func rates(values ...float64) series {
	var s series
	for _, v := range values {
		s = append(s, reading{rate: v, proxyCPU: time.Duration(v)})
	}
	return s
}

func TestRatioComparesBestQuartersAndTheMedianOfRounds(t *testing.T) {
	ours, theirs := rates(10, 50, 30, 40, 20, 60, 70, 80), rates(20, 50, 60, 40, 20, 60, 70, 100)
	top, median := ratio(ours, theirs)
	if want := 75.0 / 85.0; top != want {
		t.Errorf("best is %v, not %v", top, want)
	}
	if median != 1 { // 0.5 1 0.5 1 1 1 1 0.8
		t.Errorf("median is %v, not 1", median)
	}
	if got := ours.lowest(proxyCPU); got != 10 {
		t.Errorf("lowest is %v, not 10", got)
	}
	if got := least([]float64{4, 3, 9, 9}); got != 3 {
		t.Errorf("least is %v, not 3", got)
	}
}

func TestPgbenchReportIsRead(t *testing.T) {
	const report = "number of transactions actually processed: 1234\nnumber of failed transactions: 0 (0.000%)\ntps = 617.5 (without initial connection time)\n"
	count, rate, err := spoken(report)
	if count != 1234 || rate != 617.5 || err != nil {
		t.Errorf("read %v, %v, %v", count, rate, err)
	}
	if _, _, err := spoken("pgbench: error: client 1 aborted"); err == nil {
		t.Error("a failed run passes for a measurement")
	}
}
