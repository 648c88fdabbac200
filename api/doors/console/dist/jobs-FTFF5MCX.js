import{a,b,c,d,e}from"./chunk-LBKIVKFL.js";import"./chunk-5YTNBDIE.js";import"./chunk-GERVRJNV.js";export{e as Fact,a as JobState,d as Jobs,c as sentenceOf,b as verbOf};
